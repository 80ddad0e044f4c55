"""fastText's `train_supervised` with its defaults."""

from pathlib import Path

from worker import Job, run

PREFIX = "__label__"


def answers_of(model: object, texts: list[str], names: list[str]) -> list[str]:
    """The label of each text; fastText reads lines."""
    found, _ = model.predict([text.replace("\n", " ") for text in texts])  # type: ignore[attr-defined]
    return [names[int(labels[0].removeprefix(PREFIX))] for labels in found]


def train(job: Job) -> None:
    """On a file with one text in a line, whose label is its number, as names may have spaces."""
    with job.phase("import"):
        import fasttext

    folder = Path(job["model"])
    folder.mkdir(parents=True)
    with job.phase("read"):
        texts, labels = job.read("train")
        names = sorted(set(labels))
        lines = [f"{PREFIX}{names.index(label)} {' '.join(text.split())}\n" for text, label in zip(texts, labels)]  # noqa: B905  of one file
        (folder / "train.txt").write_text("".join(lines), encoding="utf-8")
        (folder / "names.txt").write_text("\n".join(names), encoding="utf-8")
    with job.phase("train"):
        model = fasttext.train_supervised(input=str(folder / "train.txt"), seed=job["seed"])
        model.save_model(str(folder / "model.bin"))
    job.test(lambda texts: answers_of(model, texts, names))


def predict(job: Job) -> None:
    """All lines at once."""
    with job.phase("import"):
        import fasttext

    folder = Path(job["model"])
    with job.phase("load"):
        model = fasttext.load_model(str(folder / "model.bin"))
        names = (folder / "names.txt").read_text(encoding="utf-8").split("\n")
    job.predict(lambda texts: answers_of(model, texts, names))


if __name__ == "__main__":
    run(train=train, predict=predict)
