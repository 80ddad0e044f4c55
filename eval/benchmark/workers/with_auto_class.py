"""From `from_pretrained` to the first answer, in a process that has loaded no model before."""

from worker import Job, run

# Of a text, in characters: both classes read it whole, and neither more than the other.
READ = 1_000


def start(job: Job) -> None:
    """With the Auto classes of transformers, which read the code in a model's folder; or by Salience, installed."""
    with job.phase("import"):
        import torch
        from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

        # Modules that transformers imports when a class is first asked for are libraries, too, whoever asks.
        AutoTokenizer.from_pretrained(job["encoder"])
        AutoModel.from_config(AutoConfig.from_pretrained(job["encoder"]))
        if job.options["installed"]:
            from salience.eval.reading.load import load_classifier

    texts, _ = job.read("test")
    text = texts[0][:READ]
    with job.phase("load"):
        if job.options["installed"]:
            model, tokenizer = load_classifier(job["model"])
        else:
            tokenizer = AutoTokenizer.from_pretrained(job["model"], trust_remote_code=True)
            model = AutoModelForSequenceClassification.from_pretrained(job["model"], trust_remote_code=True)
        model.eval()
    for name in ("first answer", "second answer"):
        with job.phase(name), torch.inference_mode():
            model(**tokenizer(text, return_tensors="pt", truncation=True))


if __name__ == "__main__":
    run(start=start)
