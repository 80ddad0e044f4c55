"""model2vec with its documented defaults: a static model distilled from the encoder, and a classifier on it."""

from worker import Job, run


def train(job: Job) -> None:
    """Distil, fit, and keep it as the pipeline that its page predicts with."""
    with job.phase("import"):
        from model2vec.distill import distill
        from model2vec.train import StaticModelForClassification

    with job.phase("read"):
        texts, labels = job.read("train")
    with job.phase("load"):
        static = distill(model_name=job["encoder"])
    with job.phase("train"):
        classifier = StaticModelForClassification.from_static_model(model=static)
        classifier.fit(texts, labels, random_seed=job["seed"])
        pipeline = classifier.to_pipeline()
        pipeline.save_pretrained(job["model"])
    job.test(lambda texts: list(map(str, pipeline.predict(texts))))


def predict(job: Job) -> None:
    """As the pipeline does it."""
    with job.phase("import"):
        from model2vec.inference import StaticModelPipeline

    with job.phase("load"):
        pipeline = StaticModelPipeline.from_pretrained(job["model"])
    job.predict(lambda texts: list(map(str, pipeline.predict(texts))))


if __name__ == "__main__":
    run(train=train, predict=predict)
