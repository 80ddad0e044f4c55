"""Labels for texts, by onnxruntime, tokenizers and numpy alone: python predict.py "a text" "another text"."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent
PARTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class Classifier:
    """The model beside this file: `Classifier()(["a text"])`; `Classifier("model_int8.onnx")` is the smaller one."""

    def __init__(self, model: str = "model.onnx") -> None:
        self.tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
        self.session = InferenceSession(str(FOLDER / model))
        about = self.session.get_modelmeta().custom_metadata_map
        self.labels, self.between = np.array(json.loads(about["labels"])), about["separator"]

    def read(self, texts: Sequence[str | Sequence[str]]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Numbers of the texts of a batch, and what the graph says of them; texts of like length are read together."""
        texts = [each if isinstance(each, str) else self.between.join(each) for each in texts]
        rows = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
        while rows:
            count = max(16_384 // (len(texts[rows[0]]) + 8), 1)  # characters, a few for what stands around a text
            batch, rows = rows[:count], rows[count:]
            read = self.tokenizer.encode_batch([texts[row] for row in batch])
            inputs = {each.name: [getattr(e, PARTS[each.name]) for e in read] for each in self.session.get_inputs()}
            yield batch, self.session.run(None, {name: np.array(part, np.int64) for name, part in inputs.items()})

    def __call__(self, texts: Sequence[str | Sequence[str]]) -> list[dict[str, Any]]:
        """Label and score of each text, or lists of them; `action` says "review" where the model isn't sure enough.

        Where the model was trained on several columns, a text is a list: what stands in each of them.
        """
        answers: dict[int, dict[str, Any]] = {}
        for batch, (_, scores, chosen, *is_sure) in self.read(texts):
            for place, row in enumerate(batch):
                of_label = chosen[place]  # its number, or which of several
                answers[row] = {"label": self.labels[of_label].tolist()} if self.labels.size else {}
                answers[row]["score"] = scores[place][of_label].tolist()
                if is_sure:
                    answers[row]["action"] = "predict" if is_sure[0][place] else "review"
        return [answers[row] for row in range(len(texts))]


if __name__ == "__main__":
    sys.stdout.write("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in Classifier()(sys.argv[1:])))
