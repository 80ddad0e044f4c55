"""SetFit with its documented defaults, on as many texts of each class as its quick tour takes: it is for few texts."""

from worker import Job, run


def train(job: Job) -> None:
    """Contrastive pairs of a few texts for one epoch, and logistic regression on their vectors."""
    with job.phase("import"):
        from datasets import Dataset
        from setfit import SetFitModel, Trainer, TrainingArguments, sample_dataset

    with job.phase("read"):
        texts, labels = job.read("train")
        rows = Dataset.from_dict({"text": texts, "label": labels})
        few = sample_dataset(rows, num_samples=job.options["num_samples"], seed=job["seed"])
    with job.phase("load"):
        model = SetFitModel.from_pretrained(job["encoder"])
    with job.phase("train"):
        arguments = TrainingArguments(output_dir=job["model"], seed=job["seed"], report_to="none")
        Trainer(model=model, args=arguments, train_dataset=few).train()
    job.found["num_texts"] = len(few)
    job.test(lambda texts: list(map(str, model.predict(texts))))


if __name__ == "__main__":
    run(train=train)
