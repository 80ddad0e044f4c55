"""Labels for texts, by onnxruntime, tokenizers and numpy alone: python predict.py "a text" "another text"."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent


class Classifier:
    """The model beside this file: `Classifier()(["a text"])`; `Classifier("model_int8.onnx")` is the smaller one."""

    def __init__(self, model: str = "model.onnx") -> None:
        self.facts = json.loads((FOLDER / "export.json").read_text("utf-8"))
        self.tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
        self.session = InferenceSession(str(FOLDER / model))

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated logits, (texts, classes), as the model gives them; texts of like length are read together."""
        encodings = self.tokenizer.encode_batch(list(texts))
        logits = np.zeros((len(texts), len(self.facts["labels"])), np.float32)
        rows = sorted(range(len(texts)), key=lambda row: len(encodings[row]), reverse=True)
        while rows:
            width = max(len(encodings[rows[0]]), 1)
            count = max(4_096 // width, 1)
            for row in rows[:count]:
                encodings[row].pad(width, pad_id=self.facts["pad_id"])
            batch = [encodings[row] for row in rows[:count]]
            columns = {
                "input_ids": [each.ids for each in batch],
                "attention_mask": [each.attention_mask for each in batch],
                "token_type_ids": [each.type_ids for each in batch],
            }
            inputs = {each.name: np.array(columns[each.name], np.int64) for each in self.session.get_inputs()}
            logits[rows[:count]] = self.session.run(None, inputs)[0]
            rows = rows[count:]
        return logits

    def __call__(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Label and score of each text; of several labels the lists of both; of a regression the number alone.

        Of a model that was trained with a wanted accuracy, `action` too: "predict", or "review" by a person.
        """
        logits, labels = self.logits(texts).astype(np.float64), np.array(self.facts["labels"])
        if self.facts["problem_type"] == "regression":
            return [{"score": row[0] if len(row) == 1 else row.tolist()} for row in logits]
        if self.facts["problem_type"] == "multi_label_classification":
            scores, chosen = 1 / (1 + np.exp(-logits)), logits >= self.facts["logit_thresholds"]
            found = [{"label": labels[k].tolist(), "score": s[k].tolist()} for s, k in zip(scores, chosen, strict=True)]
            return self.with_actions(found, np.where(chosen, scores, 1 - scores).min(1))
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        found = [{"label": str(labels[row.argmax()]), "score": float(row.max())} for row in scores]
        return self.with_actions(found, scores.max(1))

    def with_actions(self, found: list[dict[str, Any]], confidences: np.ndarray) -> list[dict[str, Any]]:
        """The answers, and what to do with each where the model has a threshold for it."""
        threshold = self.facts["review_threshold"]
        if threshold is None:
            return found
        actions = ["predict" if each >= threshold else "review" for each in confidences]
        return [answer | {"action": action} for answer, action in zip(found, actions, strict=True)]


if __name__ == "__main__":
    sys.stdout.write("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in Classifier()(sys.argv[1:])))
