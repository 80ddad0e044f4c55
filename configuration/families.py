"""The families of models that `--model` names, one record each; whoever has to know a family reads it here.

To add one: its classes (modeling/modeling_NAME.py), its configuration (configuration/configuration_NAME.py, and the
shim of that name in modeling/) and a record. Imports neither torch nor transformers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

BUILDERS = "salience.train.building.builders"
INSIDES = "salience.eval.failures.internals"


@dataclass(frozen=True)
class Code:
    """Classes of ours; several families may be made of the same ones.

    Attributes:
        name: That of their files, configuration_NAME.py and modeling_NAME.py; their `model_type` is salience_NAME.
        stem: Their names are STEMConfig, STEMModel and STEMForSequenceClassification.
        scratch_options: Fields of the configuration that count only without a pretrained encoder.
        gives_weights: Whether the outputs have `pooling_weights` beside the logits.
        insides: "module:function" that reads a model's insides, to look for its failure modes; None for nothing.
        ablation: Folder in model_cards/results whose study has options of such models on and off; None for none.
    """

    name: str
    stem: str
    scratch_options: frozenset[str] = frozenset()
    gives_weights: bool = False
    insides: str | None = None
    ablation: str | None = None

    @property
    def model_type(self) -> str:
        """What config.json calls such a model."""
        return f"salience_{self.name}"

    def config_class(self) -> type[Any]:
        """The configuration, imported when it is asked for."""
        return resolve_name(f"salience.configuration.configuration_{self.name}:{self.stem}Config")


@dataclass(frozen=True)
class Family:
    """One value of `--model`.

    Attributes:
        help: What it is, in a few words, for `--help`.
        sentence: What it does, for the model card, without a full stop.
        code: Its classes; None for those of transformers.
        on_encoder: "module:function" that builds it on a pretrained encoder; None if it has none.
        from_scratch: "module:function" that builds it without one; None if it needs one.
        options: Fields of the configuration that make it this family, where flags don't say otherwise.
        sizes: Fields of which it has other defaults than its configuration.
        unused: Fields of the configuration that have no effect on it.
        scratch_rate: Peak learning rate without a pretrained encoder, where flags don't say otherwise.
    """

    help: str
    sentence: str
    code: Code | None
    on_encoder: str | None = None
    from_scratch: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()
    scratch_rate: float = 1e-3

    @property
    def defaults(self) -> dict[str, Any]:
        """Fields of the configuration, where flags don't say otherwise."""
        return {**self.options, **self.sizes}

    @property
    def encoder(self) -> Literal["needed", "possible", "refused"]:
        """What becomes of `--encoder`."""
        if self.on_encoder is None:
            return "refused"
        return "needed" if self.from_scratch is None else "possible"

    def builder(self, has_encoder: bool) -> Callable[[Any], Any]:
        """The function that builds it, from a `Request` of its module, imported when it is asked for."""
        name = self.on_encoder if has_encoder else self.from_scratch
        if name is None:
            raise ValueError(f"encoder is {self.encoder} for this family")
        return resolve_name(name)


ATTN_POOL = Code(
    "attn_pool", "AttnPool", gives_weights=True, insides=f"{INSIDES}:read_pooling", ablation="ag_news_pooling"
)
HIERARCHICAL_ATTN = Code(
    "hierarchical_attn",
    "HierarchicalAttn",
    scratch_options=frozenset({"vocab_size", "embedding_dim", "hidden_dim", "num_layers", "embedding_skip"}),
    gives_weights=True,
    insides=f"{INSIDES}:read_hierarchical",
    ablation="20_newsgroups_ablation",
)
BASELINE = Code("baseline", "Baseline")

FAMILIES = {
    "attn_pool": Family(
        "attention pooling on a pretrained encoder",
        "It weighs the tokens of the whole text by attention and classifies the weighted sum",
        ATTN_POOL,
        on_encoder=f"{BUILDERS}:on_encoder",
    ),
    "hierarchical_attn": Family(
        "words, filtered, attend to sentences; from scratch or on a pretrained encoder",
        "It keeps the words that attention finds important, relates them to the text's sentences and classifies the "
        "result",
        HIERARCHICAL_ATTN,
        on_encoder=f"{BUILDERS}:on_encoder",
        from_scratch=f"{BUILDERS}:from_words",
    ),
    "lstm": Family(
        "Bi-LSTM from scratch",
        "It is a bidirectional LSTM with max pooling",
        BASELINE,
        from_scratch=f"{BUILDERS}:from_words",
        options={"architecture": "lstm"},
        unused=frozenset({"num_heads", "graph_window", "kernel_sizes", "num_filters"}),
    ),
    "cnn": Family(
        "CNN from scratch",
        "It is a convolutional network over word windows",
        BASELINE,
        from_scratch=f"{BUILDERS}:from_words",
        options={"architecture": "cnn"},
        unused=frozenset({"num_heads", "graph_window", "hidden_dim", "num_layers"}),
    ),
    "gat": Family(
        "graph attention from scratch",
        "It is a graph attention network over the words that occur together",
        BASELINE,
        from_scratch=f"{BUILDERS}:from_words",
        options={"architecture": "gat"},
        unused=frozenset({"kernel_sizes", "num_filters"}),
    ),
    "bag_of_words": Family(
        "the mean of word embeddings, and --ngram_evidence, which does most of the work; trained in minutes",
        "It is the mean of word embeddings",
        BASELINE,
        from_scratch=f"{BUILDERS}:from_words",
        options={"architecture": "bag_of_words"},
        sizes={"vocab_size": 100_000, "embedding_dim": 32},
        unused=frozenset({"num_heads", "graph_window", "kernel_sizes", "num_filters", "hidden_dim", "num_layers"}),
        scratch_rate=5e-2,  # a mean of many words passes little of a step on to each
    ),
    "transformer": Family(
        "Transformer from scratch: four layers of width 256 that read 512 tokens at once",
        "It is a transformer trained from scratch",
        ATTN_POOL,
        from_scratch=f"{BUILDERS}:on_untrained_encoder",
        options={"alpha": 1.0},  # pooling by the plain mean
        scratch_rate=5e-4,  # as in configuration/studies/ag_news.yaml
    ),
    "sequence_classification": Family(
        "the plain head of transformers on a pretrained encoder",
        "It is a pretrained encoder with a linear classifier on its text vector",
        None,
        on_encoder=f"{BUILDERS}:plain_head",
    ),
}


def names_a_run(model: str) -> bool:
    """Whether `--model` names a trained model, by its folder or Hub id, and no family."""
    return model not in FAMILIES and ("/" in model or Path(model).exists())


def is_plain_head(model: str) -> bool:
    """Whether `--model` names a family without a configuration of ours."""
    return model in FAMILIES and FAMILIES[model].code is None


def codes() -> dict[str, Code]:
    """All classes of ours, by `model_type`."""
    return {family.code.model_type: family.code for family in FAMILIES.values() if family.code}
