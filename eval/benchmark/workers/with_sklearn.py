"""scikit-learn: TF-IDF and a linear SVM, both with their defaults."""

import pickle
from pathlib import Path

from worker import Job, run


def train(job: Job) -> None:
    """Fit, and keep it for `predict`."""
    with job.phase("import"):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC

    with job.phase("read"):
        texts, labels = job.read("train")
    with job.phase("train"):
        model = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=job["seed"])).fit(texts, labels)
    Path(job["model"]).mkdir(parents=True)
    (Path(job["model"]) / "model.pickle").write_bytes(pickle.dumps(model))
    job.test(lambda texts: list(map(str, model.predict(texts))))


def predict(job: Job) -> None:
    """All at once."""
    with job.phase("load"):
        model = pickle.loads((Path(job["model"]) / "model.pickle").read_bytes())  # of this run
    job.predict(lambda texts: list(map(str, model.predict(texts))))


if __name__ == "__main__":
    run(train=train, predict=predict)
