"""Run in a process that can't import salience: load each folder by the Auto classes and the pipeline, save, load again.

Arguments: an output folder, then model folders. Writes the logits of each way of loading as one .npz per model folder.
They are of the `texts` in FOLDER.json, where there is such a file.
"""

import importlib.abc
import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline


class NoSalience(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "salience":
            raise ModuleNotFoundError("No module named 'salience'", name="salience")


sys.meta_path.insert(0, NoSalience())

TEXTS = ["the bank raised its rates", "", "a goal in the last minute . the crowd was loud ! " * 30]


def load(folder: str, saved_again: Path) -> dict[str, np.ndarray]:
    trusted, recorded = {"trust_remote_code": True}, Path(f"{folder}.json")
    texts = json.loads(recorded.read_text())["texts"] if recorded.exists() else TEXTS
    config = AutoConfig.from_pretrained(folder, **trusted)
    tokenizer = AutoTokenizer.from_pretrained(folder, **trusted)
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        model = AutoModelForSequenceClassification.from_pretrained(folder, **trusted).eval()
        assert type(model.config).__name__ == type(config).__name__
        found = {"classifier": model(**inputs).logits}
        found["vector"] = model(**inputs).pooler_output
        found["auto_model"] = AutoModel.from_pretrained(folder, **trusted).eval()(**inputs).pooler_output
        model.save_pretrained(saved_again)
        again = AutoModelForSequenceClassification.from_pretrained(str(saved_again), **trusted).eval()
        found["saved_again"] = again(**inputs).logits
    classify = pipeline("text-classification", model=folder, trust_remote_code=True, device="cpu")
    scores = [classify(text, top_k=None) for text in texts]
    rows = [[{s["label"]: s["score"] for s in row}[config.id2label[i]] for i in range(3)] for row in scores]
    found["pipeline"] = torch.tensor(rows)
    assert [row[0]["label"] for row in classify(texts, batch_size=2, top_k=1)] == [row[0]["label"] for row in scores]
    if hasattr(config, "custom_pipelines"):  # folders of earlier versions have none
        (answer,) = classify(texts[0], explain=True)
        assert "".join(part for part, _ in answer["spans"]) == texts[0]
        found["explained"] = torch.tensor([word["weight"] for word in answer["words"]])
        named = pipeline("text-classification", model=str(saved_again), tokenizer=tokenizer, trust_remote_code=True)
        assert named(texts[0], explain=True)[0]["words"]
    return {name: value.numpy() for name, value in found.items()} | {
        key: value.numpy() for key, value in inputs.items()
    }


if __name__ == "__main__":
    output = Path(sys.argv[1])
    for number, folder in enumerate(sys.argv[2:]):
        np.savez(output / f"{number}.npz", **load(folder, output / f"again-{number}"))
