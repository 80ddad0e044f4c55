"""A text before its classifier, and what the classifier says of it, of parts of it, and by counts of its words.

For any text-classification model of transformers with a fast tokenizer; nothing here asks for a class of ours.

Shape suffixes
    B = texts, T = tokens of one text, C = classes
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .documents import Document, padded
from .windows import cells_of_call

# Variants of a text that are read at once, at most.
MOST_ROWS = 512


def twin(model: Any) -> Any:
    """A model of the same weights: what is hooked into it meanwhile doesn't reach the answers of other threads."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return deepcopy(model, shared)


@dataclass
class Subject:
    """A text before a classifier.

    Args:
        model: The classifier, in evaluation mode.
        tokenizer: Its (fast) tokenizer.
        document: The text.
        most_rows: Variants of the text that are read at once, at most; fewer where they would be many tokens. The
            work on them bounds the memory, however long the text is.
    """

    model: Any
    tokenizer: Any
    document: Document
    most_rows: int = MOST_ROWS

    @property
    def rows(self) -> int:
        """Variants of the text that are read at once."""
        return max(1, min(self.most_rows, self.cells // max(len(self.document.ids), 1)))

    @property
    def cells(self) -> int:
        """Texts times tokens that the device reads at once."""
        return cells_of_call(self.model.device.type)

    @cached_property
    def outputs(self) -> Any:
        """What the model says of the text."""
        with torch.no_grad():
            return self.model(**self.inputs([self.document.ids]))

    def inputs(self, ids: Sequence[np.ndarray]) -> Any:
        """Texts, given as token ids, as inputs of the model."""
        return padded(self.tokenizer, ids).to(self.model.device)

    def of_tokens(self, name: str) -> np.ndarray | None:
        """One of the model's outputs for each token, (T,); None where the model has none."""
        found = self.outputs.get(name)
        return None if found is None else found[0].float().cpu().numpy()

    def counted(self, target: int) -> np.ndarray | None:
        """What each token adds to a class's logit by counts of n-grams, (T,); None where the model counts none.

        Args:
            target: Number of the class.
        """
        counted = getattr(self.model, "counted", None)
        if counted is None:
            return None
        inputs = self.inputs([self.document.ids])
        with torch.no_grad():
            found = counted(inputs["input_ids"], inputs["attention_mask"], target)
        return None if found is None else found[0].double().cpu().numpy()

    def scores(self, ids: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities of the classes, or the numbers of a regression, for texts given as token ids: (B, C)."""
        parts = []
        for start in range(0, len(ids), self.rows):
            with torch.no_grad():
                parts.append(
                    probabilities(self.model(**self.inputs(ids[start : start + self.rows])), self.model.config)
                )
        return np.concatenate(parts)


def probabilities(outputs: Any, config: Any) -> np.ndarray:
    """What a classifier's logits say: probabilities (B, C); the logits themselves where it predicts numbers."""
    logits_BC = outputs.logits.float()
    if config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1):
        return logits_BC.cpu().numpy()
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return (logits_BC.sigmoid() if several else logits_BC.softmax(-1)).cpu().numpy()
