"""transformers' examples/pytorch/text-classification/run_classification.py, without its reading of flags and files.

Defaults of the script: float32, texts padded to `max_seq_length` = 128 and cut there, batches of 8, three epochs, 5e-5.
"""

from typing import Any

from worker import Job, run

DEFAULTS: dict[str, Any] = {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 8, "num_train_epochs": 3}


def accuracy(answers: Any) -> dict[str, float]:
    """Of the answers to a split."""
    return {"accuracy": float((answers.predictions.argmax(1) == answers.label_ids).mean())}


def train(job: Job) -> None:
    """Tokenize with `datasets`, train, validate once, save."""
    with job.phase("import"):
        import numpy as np
        from datasets import load_dataset
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
            Trainer,
            TrainingArguments,
            default_data_collator,
        )

    padded, length = job.options["pad_to_max_length"], job.options["max_seq_length"]
    with job.phase("read"):
        files = {split: job["files"][split] for split in ("train", "validation", "test")}
        raw = load_dataset("json", data_files=files, cache_dir=f"{job['model']}_cache")
        labels = sorted(set(raw["train"]["label"]))
    with job.phase("load"):
        tokenizer = AutoTokenizer.from_pretrained(job["encoder"])
        names = {"id2label": dict(enumerate(labels)), "label2id": {name: row for row, name in enumerate(labels)}}
        model = AutoModelForSequenceClassification.from_pretrained(job["encoder"], num_labels=len(labels), **names)
        length = min(length, tokenizer.model_max_length)

    def tokenize(rows: dict[str, list[str]]) -> dict[str, Any]:
        encoded = tokenizer(rows["text"], padding="max_length" if padded else False, max_length=length, truncation=True)
        return {**encoded, "label": [names["label2id"][label] for label in rows["label"]]}

    with job.phase("tokenize"):
        texts = raw.map(tokenize, batched=True, remove_columns=["text"])
    flags = DEFAULTS | job.options.get("training", {})
    arguments = TrainingArguments(job["model"], seed=job["seed"], report_to="none", **flags)
    collator = default_data_collator if padded else DataCollatorWithPadding(tokenizer)
    trainer = Trainer(
        model=model, args=arguments, train_dataset=texts["train"], eval_dataset=texts["validation"],
        processing_class=tokenizer, data_collator=collator, compute_metrics=accuracy,
    )  # fmt: skip
    with job.phase("train"):
        trainer.train()
        trainer.save_model()
    with job.phase("validate"):
        job.found["validation_accuracy"] = trainer.evaluate()["eval_accuracy"]
    with job.phase("test"):
        answers = np.asarray(trainer.predict(texts["test"]).predictions).argmax(1)
    job.score("test", [labels[answer] for answer in answers], raw["test"]["label"])


if __name__ == "__main__":
    run(train=train)
