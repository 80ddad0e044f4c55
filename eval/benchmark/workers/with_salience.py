"""Ours: `salience train`, and the reading that `salience score` does."""

import subprocess
import sys
from pathlib import Path

from worker import Job, run


def train(job: Job) -> None:
    """The whole program in a process of its own; what it takes for the test texts isn't part of training."""
    flags = {f"{split}_file": job["files"][split] for split in ("train", "validation", "test")}
    flags |= {"output_dir": job["model"], "encoder": job["encoder"], "seed": job["seed"], **job.options}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    with job.phase("train"):
        status = subprocess.run([sys.executable, "-m", "salience.eval.cli", "train", *words]).returncode
    if status:  # why is the last that it said
        sys.exit(status)

    from salience.model_cards.files import read_json
    from salience.model_cards.run_folder import RUN_FILE, read_results

    job.found["epochs"] = read_json(Path(job["model"]) / RUN_FILE)["arguments"]["num_train_epochs"]

    for split in ("validation", "test"):
        results = read_results(Path(job["model"]), split)
        job.found[f"{split}_accuracy"] = results["accuracy"]
    job.seconds["test"] = results["runtime"]
    job.seconds["train"] -= results["runtime"]


def predict(job: Job) -> None:
    """In batches by length."""
    with job.phase("import"):
        from salience.eval.reading.load import ClassifierArguments, load_reader

    with job.phase("load"):
        reader = load_reader(ClassifierArguments(model=job["model"]))

    def classify(texts: list[str]) -> list[dict[str, float]]:
        logits = reader.logits(reader.token_ids(texts))
        return [dict(zip(reader.label_names, row, strict=True)) for row in logits.tolist()]

    job.predict(classify)


if __name__ == "__main__":
    run(train=train, predict=predict)
