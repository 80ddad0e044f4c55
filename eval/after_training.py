"""What follows training: the temperature of the scores, and the scores of validation and test, written to the run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from accelerate.utils import broadcast_object_list
from transformers import EvalPrediction, PretrainedConfig

from salience.configuration.configuration_salience import SalienceConfig
from salience.eval.scores.calibration import fit_temperature
from salience.eval.scores.metrics import compute_scores
from salience.eval.scores.predictions import REGRESSION, Predictions, count_words, write_predictions
from salience.model_cards.run_folder import PREFIXES, without_prefix, write_results
from salience.train.data.load import TextData
from salience.train.loop.trainer import SalienceTrainer


def evaluate(
    trainer: SalienceTrainer,
    tokenized: datasets.DatasetDict,
    data: TextData,
    orders: dict[str, np.ndarray],
    wants_calibration: bool,
) -> None:
    """Read the validation split, and then the test split, once; write their results and predictions.

    What is written are the answers of the calibrated model; `eval_results.json` names its `eval_temperature`.

    Args:
        trainer: Trained.
        tokenized: The splits.
        data: What they came from.
        orders: For each held-out split, which row of `data` each of its rows is.
        wants_calibration: Fit a temperature on the validation split where there are classes and a place for it.
    """
    config: PretrainedConfig = trainer.accelerator.unwrap_model(trainer.model).config
    wants_calibration = wants_calibration and data.problem_type != REGRESSION
    for split, prefix in PREFIXES.items():
        if split not in tokenized:
            continue
        is_validation = split == "validation"
        prediction = trainer.validation_output() if is_validation else trainer.predict(tokenized[split], None, prefix)
        logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        labels, num_words = np.asarray(prediction.label_ids), count_words(data.splits[split]["text"])[orders[split]]
        predictions = Predictions(labels, logits, data.problem_type, data.label_names, num_words)
        metrics: dict[str, Any] = prediction.metrics or {}
        results: dict[str, Any] = {"samples": len(tokenized[split])}
        if is_validation:
            if wants_calibration and isinstance(config, SalienceConfig):
                predictions = calibrate(config, predictions)
                metrics |= scores_of(trainer, predictions, labels)
                results["temperature"] = config.logit_temperature
            trainer.log(metrics)  # the last point of the curves; adds the epoch
        if not trainer.is_world_process_zero():
            continue
        results = without_prefix(split, metrics) | results
        if split == "test":
            results |= compute_scores(predictions)
        folder = Path(trainer.args.output_dir)
        write_results(folder, split, results)
        write_predictions(folder, split, orders[split], predictions)


def calibrate(config: SalienceConfig, predictions: Predictions) -> Predictions:
    """Fit the temperature on answers of a trained model, and store it in its configuration.

    A prior correction stays what it is: the temperature is that of the logits without it, which predict the classes as
    often as the data has them.

    Args:
        config: The model's, without a temperature so far.
        predictions: Its answers to the validation texts.

    Returns:
        What the calibrated model answers to the same texts.
    """
    correction_C = np.asarray(config.prior_correction or 0.0, np.float32)
    uncorrected = predictions.logits.astype(np.float32) + correction_C  # as the model computes
    # One process decides, should the last bits of others differ.
    fitted = broadcast_object_list([fit_temperature(replace(predictions, logits=uncorrected))])
    config.logit_temperature = fitted[0]
    calibrated = (uncorrected / config.logit_temperature - correction_C).astype(np.float32)
    return replace(predictions, logits=calibrated)


def scores_of(trainer: SalienceTrainer, predictions: Predictions, labels: np.ndarray) -> dict[str, Any]:
    """The scores and the loss of `trainer.predict` on the validation split, had the model answered so.

    Args:
        trainer: Trained.
        predictions: What the model answered.
        labels: (N,) or (N, C), of the type that the loss takes.
    """
    logits = predictions.logits.astype(np.float32)
    scores = trainer.compute_metrics(EvalPrediction(logits, labels))  # type: ignore[misc]  # it was given
    return {f"eval_{name}": value for name, value in (scores | {"loss": trainer.loss_of(logits, labels)}).items()}
