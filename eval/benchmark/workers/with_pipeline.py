"""transformers' `pipeline("text-classification")`, as its page says: float32, texts cut where the tokenizer says."""

from typing import Any

from worker import Job, run


def predict(job: Job) -> None:
    """In batches of `batch_size` in the order of the texts."""
    with job.phase("import"):
        from transformers import pipeline

    with job.phase("load"):
        pipe = pipeline("text-classification", model=job["model"], trust_remote_code=True)

    def classify(texts: list[str]) -> list[dict[str, float]]:
        options = {"batch_size": job.options["batch_size"], "truncation": True}
        answers: Any = pipe(texts, top_k=None, function_to_apply="none", **options)
        return [{each["label"]: each["score"] for each in answer} for answer in answers]

    job.predict(classify)


if __name__ == "__main__":
    run(predict=predict)
