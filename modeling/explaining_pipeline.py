"""transformers' text-classification pipeline, which also says why: `explain=True`. It travels with a model's code.

A repository's config.json names it in `custom_pipelines`; where our package is imported, it is that of every model. It
is for any classifier with a fast tokenizer.
"""

from typing import Any

from transformers import TextClassificationPipeline

# Each file of ours that is needed: transformers 4 loads no others from a folder.
from .attributions import method_named
from .documents import Document
from .explaining import best_method, explain
from .ragged import Ragged  # noqa: F401
from .subject import MOST_ROWS, Subject, twin
from .unpadded import in_one_row  # noqa: F401
from .windows import cells_of_call  # noqa: F401


class ExplainingPipeline(TextClassificationPipeline):
    """Answers as `TextClassificationPipeline` does, and with `explain=True` each answer also says why.

    It takes everything that `TextClassificationPipeline` takes, and, here or with each call

    - `explain`: add what `explaining.explain` returns to each answer (`top_k` says how many there are of a text);
    - `method`: a key of `METHODS`; unset: the most faithful one, where config.json names it, or integrated gradients;
    - `target`: name or number of the class that is explained; unset: that of the answer. Answers stay what they are;
    - `most_rows`: variants of the text that are read at once at most, 512 where nothing is said.

    Each text is explained by itself, and so alike in every batch.
    """

    def _sanitize_parameters(  # type: ignore[override]  # passes everything else on
        self,
        explain: bool | None = None,
        method: str | None = None,
        target: str | int | None = None,
        most_rows: int | None = None,
        **others: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, forward, postprocess = super()._sanitize_parameters(**others)
        if method is not None:
            method_named(method)  # an unknown one is refused before any work
            postprocess["method"] = method
        if target is not None:
            postprocess["target"] = target
        if most_rows is not None:
            postprocess["most_rows"] = most_rows
        if explain is not None:
            preprocess["explain"] = explain
        return preprocess, forward, postprocess

    def preprocess(  # type: ignore[override]  # passes everything else on
        self, inputs: Any, explain: bool = False, **tokenizer_kwargs: Any
    ) -> Any:
        """A text as the model's inputs, and with `explain` its `Document`.

        Raises:
            ValueError: It is to be explained, and is no single text, or the tokenizer is a slow one.
        """
        if not explain:
            return super().preprocess(inputs, **tokenizer_kwargs)
        text = inputs["text"] if isinstance(inputs, dict) and inputs.keys() == {"text"} else inputs
        if not isinstance(text, str):
            raise ValueError("explain=True explains single texts: give each as a string, without a text_pair")
        if not getattr(self.tokenizer, "is_fast", False):
            name = type(self.tokenizer).__name__
            raise ValueError(f"{name} doesn't tell where tokens stand in a text: explain=True needs a fast tokenizer")
        encoding: Any = super().preprocess(text, **tokenizer_kwargs)
        encoding["document"] = Document.of(text, encoding, 0)
        return encoding

    def _forward(self, model_inputs: Any) -> Any:  # type: ignore[override]  # as that of the class above
        document = model_inputs.pop("document", None)
        outputs = super()._forward(model_inputs)
        return outputs if document is None else {"logits": outputs["logits"], "document": document}

    def postprocess(  # type: ignore[override]  # passes everything else on
        self,
        model_outputs: Any,
        method: str | None = None,
        target: str | int | None = None,
        most_rows: int = MOST_ROWS,
        **others: Any,
    ) -> Any:
        """The answers to a text, each with its explanation where the text came with its `Document`."""
        answers = super().postprocess(model_outputs, **others)
        document = model_outputs.get("document")
        if document is None:
            return answers
        subject = Subject(twin(self.model), self.tokenizer, document, most_rows)
        method = method or best_method(self.model.config)[0]
        for answer in [answers] if isinstance(answers, dict) else answers:
            answer |= explain(subject, self.number_of(answer["label"] if target is None else target), method)
        return answers

    def number_of(self, target: str | int) -> int:
        """The number of a class.

        Args:
            target: Its name or number.

        Raises:
            ValueError: There is none of this name or number.
        """
        names: Any = self.model.config.id2label
        is_number = target in names and not isinstance(target, bool)
        found: Any = target if is_number else next((key for key, name in names.items() if name == target), None)
        if found is None:
            raise ValueError(f"target = {target!r} is no class of this model; choose from {', '.join(names.values())}")
        return int(found)


__all__ = ["ExplainingPipeline"]
