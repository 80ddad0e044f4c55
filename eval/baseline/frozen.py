"""Logistic regression on the document vectors of a pretrained encoder that stays as it is."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.training_arguments import does_bf16_well
from salience.configuration.problem_types import SINGLE_LABEL
from salience.eval.baseline.prior_correction import PriorCorrectedLogistic
from salience.eval.reading.reader import batches, portions
from salience.modeling.documents import padded
from salience.modeling.windows import cells_of_call
from salience.train.building.build import build_model
from salience.train.building.encoder_cache import attach_cache
from salience.train.building.lora import encoder_of

BATCH_SIZE = 512  # texts at a time at most; those of like length are read together


class FrozenVectors(TransformerMixin, BaseEstimator):
    """Texts to document vectors: the mean of the encoder's last hidden states over a text's tokens.

    Args:
        model: Document encoder whose `pooler_output` is that mean.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @property
    def num_weights(self) -> int:
        """Weights of the encoder."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def fit(self, texts: Sequence[str], labels: np.ndarray | None = None) -> "FrozenVectors":
        """Nothing is learned."""
        return self

    @torch.no_grad()
    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D) float32 of N texts, of any length: long ones are read in windows."""
        self.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]  # its decorator
        read = (self.tokenizer(list(part), verbose=False)["input_ids"] for part in portions(texts))
        ids = [np.array(each, dtype=int) for part in read for each in part]
        parts, order, device = [], [], self.model.device
        bf16 = does_bf16_well(device.type == "cpu")
        for rows in batches(ids, BATCH_SIZE, cells_of_call(device.type)):
            batch = padded(self.tokenizer, [ids[row] for row in rows])
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                outputs = self.model(**batch.to(device))
            parts.append(outputs.pooler_output.float().cpu().numpy())
            order += rows
        return np.concatenate(parts)[np.argsort(order)]


def frozen_vectors(encoder: str, revision: str | None = None, cache: str | None = None) -> FrozenVectors:
    """The document vectors of a pretrained encoder.

    Args:
        encoder: Hub id, folder, or `package:NAME`.
        revision: Branch, tag or commit of a Hub id.
        cache: File that keeps what the encoder says of each text (`EncoderCache`); None for none.

    Raises:
        UserError: There is no such encoder, or the cache can't be used.
    """
    # The attention-pooling model that pools by the mean alone, without its untrained classifier.
    arguments: Any = ModelArguments(model="attn_pool", encoder=encoder, encoder_revision=revision, alpha=1.0)
    model, tokenizer = build_model(arguments, [], ["no", "yes"], SINGLE_LABEL)
    attach_cache(encoder_of(model), cache)
    return FrozenVectors(model.base_model.eval(), tokenizer)  # type: ignore[arg-type]  # Module, to torch's types


def _with_smote(vectors: FrozenVectors) -> Pipeline:
    try:
        from imblearn.over_sampling import SMOTE
        from imblearn.pipeline import make_pipeline as make_sampling_pipeline
    except ImportError as error:
        raise UserError("frozen_smote needs imbalanced-learn; run: pip install imbalanced-learn") from error
    return make_sampling_pipeline(vectors, StandardScaler(), SMOTE(random_state=0), LogisticRegression(**LOGISTIC))


LOGISTIC: dict[str, Any] = {"C": 0.01, "max_iter": 1000}
FROZEN_MODELS: dict[str, Callable[[FrozenVectors], Pipeline]] = {
    "frozen_logistic": lambda vectors: make_pipeline(vectors, StandardScaler(), LogisticRegression(**LOGISTIC)),
    "frozen_logistic_prior": lambda vectors: make_pipeline(
        vectors, StandardScaler(), PriorCorrectedLogistic(**LOGISTIC)
    ),
    "frozen_smote": _with_smote,
}
"""By name, an untrained pipeline from texts to classes; `frozen_smote` fills rare classes up with SMOTE (Chawla 2002),
vectors between those of neighbours (5 by default: rarer classes can't be filled up)."""
