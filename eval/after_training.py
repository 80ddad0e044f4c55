"""What follows training: what the counts of n-grams add, the temperature of the scores, and the scores of the run."""

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import datasets
import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import EvalPrediction, PretrainedConfig, PreTrainedModel

from salience.configuration.configuration_salience import SalienceConfig
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval.scores.calibration import fit_temperature
from salience.eval.scores.label_thresholds import fit_label_thresholds, tell_label_thresholds
from salience.eval.scores.metrics import compute_scores, flat_scores, make_compute_metrics
from salience.eval.scores.prediction_files import write_predictions
from salience.eval.scores.predictions import Predictions, count_words
from salience.eval.scores.review import fit_review, reviewed, tell_review
from salience.eval.weighing import choose, share_of
from salience.model_cards.run_folder import PREFIXES, NgramsRecord, without_prefix, write_results
from salience.modeling.ngram_evidence import NgramEvidence, damped
from salience.train.building.evidence import at_most, attach, learn_all, learn_table, tf_idf_matrix
from salience.train.building.lora import trained_model
from salience.train.data.encoded import labels_of
from salience.train.data.load import TextData
from salience.train.data.tokens import packed_batches
from salience.train.loop.losses import balancing_flag
from salience.train.loop.preparation import PreparedTexts
from salience.train.loop.trainer import SalienceTrainer

logger = logging.getLogger(__name__)


class Evidence(NamedTuple):
    """What was learned of n-grams, and weighed on the validation texts."""

    table: NgramEvidence
    temperature: float  # of the sum
    weighted_NC: np.ndarray  # what it adds to the logits of the N validation texts
    record: NgramsRecord


def metrics_in_training(
    config: PretrainedConfig, data: TextData, tuning: TuningArguments
) -> Callable[[EvalPrediction], dict[str, float]]:
    """How validation texts are scored after each epoch: by thresholds as they are fitted in the end, where they are.

    Args:
        config: The model's.
        data: Names the labels.
        tuning: Says what is fitted.
    """
    fits = tuning.fit_thresholds and data.problem_type == MULTI_LABEL and isinstance(config, SalienceConfig)
    fit_thresholds = partial(fit_label_thresholds, target_precision=tuning.target_precision) if fits else None
    return make_compute_metrics(data.problem_type, data.label_names, fit_thresholds)


def evaluate(trainer: SalienceTrainer, texts: PreparedTexts, data: TextData, tuning: TuningArguments) -> None:
    """Read the validation split, and then the test split, once; write their results and predictions.

    What is written are the answers of the model with its evidence of n-grams, calibrated, by the thresholds of its
    labels; `eval_results.json` names its `eval_temperature` and `eval_ngrams`, and both files the `review` that
    --target_accuracy asks for, and the `network_accuracy` where --ngram_evidence asks for counts of one class per text.

    Args:
        trainer: Trained.
        texts: The splits, tokenized.
        data: What they came from.
        tuning: What is learned and fitted after training, where there are classes and a place.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    config: PretrainedConfig = model.config
    has_place = isinstance(config, SalienceConfig) and data.problem_type != REGRESSION
    for split, prefix in PREFIXES.items():
        if split not in texts.splits:
            continue
        rows, order = texts.splits[split], texts.orders[split]
        is_validation = split == "validation"
        prediction = trainer.validation_output() if is_validation else trainer.predict(rows, None, prefix)
        logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        labels, num_words = np.asarray(prediction.label_ids), count_words(data.splits[split]["text"])[order]
        predictions = Predictions(
            labels, logits, data.problem_type, data.label_names, num_words, getattr(config, "label_thresholds", None)
        )
        metrics: dict[str, Any] = prediction.metrics or {}
        results: dict[str, Any] = {"samples": len(rows)}
        if is_validation:
            if has_place:
                predictions, fitted = fit(trainer, texts, tuning, predictions)
                metrics |= scores_of(trainer, predictions, labels)
                results |= fitted
            trainer.log(metrics)  # the last point of the curves; adds the epoch
        if not trainer.is_world_process_zero():
            continue
        results = without_prefix(split, metrics) | results
        if split == "test":
            results |= compute_scores(predictions)
        if has_place and tuning.ngram_evidence and not predictions.is_multi_label:
            results["network_accuracy"] = network_accuracy(model, rows, predictions)
        if has_place and tuning.target_accuracy is not None:
            results["review"] = reviewed(predictions, tuning.target_accuracy, config.review_threshold)
        if (explained := results.get("r2")) is not None and explained < 0:
            says = "the answers to the %s texts are further off than the mean of their labels would be (r2 %.2f)"
            logger.warning(says, split, explained)
        folder = Path(trainer.args.output_dir)
        write_results(folder, split, results)
        write_predictions(folder, split, order, predictions)


def fit(
    trainer: SalienceTrainer, texts: PreparedTexts, tuning: TuningArguments, predictions: Predictions
) -> tuple[Predictions, dict[str, Any]]:
    """Give the model all that is fitted to its answers to the validation texts.

    Args:
        trainer: Trained.
        texts: The splits, tokenized.
        tuning: What is fitted.
        predictions: What the network answers to the validation texts.

    Returns:
        What the model answers to them now, and what `eval_results.json` says of it.
    """
    config: SalienceConfig = trainer.accelerator.unwrap_model(trainer.model).config
    fitted: dict[str, Any] = {}
    if tuning.ngram_evidence or tuning.calibrate:
        predictions, fitted = fit_logits(trainer, texts, tuning, predictions)
    if tuning.fit_thresholds and predictions.is_multi_label:
        config.label_thresholds = fit_label_thresholds(predictions, tuning.target_precision)
        if trainer.is_world_process_zero():
            tell_label_thresholds(predictions, config.label_thresholds, tuning.target_precision)
        predictions = replace(predictions, label_thresholds=config.label_thresholds)
    if tuning.target_accuracy is not None:
        review = fit_review(predictions, tuning.target_accuracy)
        config.review_threshold = review["threshold"]
        if trainer.is_world_process_zero():
            tell_review(review, len(predictions.confidence))
    return predictions, fitted


def fit_logits(
    trainer: SalienceTrainer, texts: PreparedTexts, tuning: TuningArguments, predictions: Predictions
) -> tuple[Predictions, dict[str, Any]]:
    """Give the model evidence of n-grams, where it helps, and a temperature; see `fit`.

    A prior correction stays what it is: both are fitted to the logits without it, which predict the classes as often as
    the data has them.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    config: SalienceConfig = model.config
    correction_C = np.asarray(config.prior_correction or 0.0, np.float32)
    uncorrected = predictions.logits.astype(np.float32) + correction_C  # as the model computes
    # One process decides for all.
    decided: list[Any] = [None]
    if trainer.is_world_process_zero():
        decided = [decide(config, texts, tuning, replace(predictions, logits=uncorrected))]
    evidence, config.logit_temperature = broadcast_object_list(decided)[0]
    fitted: dict[str, Any] = {"temperature": config.logit_temperature} if tuning.calibrate else {}
    if evidence is not None:
        attach(model, evidence.table, evidence.record["weight"], evidence.record["damping"])
        uncorrected = uncorrected + evidence.weighted_NC
        fitted["ngrams"] = evidence.record
    logits = (uncorrected / config.logit_temperature - correction_C).astype(np.float32)
    return replace(predictions, logits=logits), fitted


def decide(
    config: SalienceConfig, texts: PreparedTexts, tuning: TuningArguments, network: Predictions
) -> tuple[Evidence | None, float]:
    """The evidence of n-grams that helps, if any does, and the temperature; arguments are those of `fit`."""
    if balancing := tuning.ngram_evidence and balancing_flag(tuning):
        logger.warning(
            "counts of words are left out: they favour frequent classes, and would take back what %s has done "
            "(--prior_correction 1 in its place goes with them)",
            balancing,
        )
    elif tuning.ngram_evidence:
        whole, validation = texts.whole_train(), texts.splits["validation"]
        if evidence := find_evidence(config, whole, validation, network, tuning.calibrate):
            return evidence, evidence.temperature
    return None, fit_temperature(network) if tuning.calibrate else 1.0


def find_evidence(
    config: SalienceConfig,
    train_rows: datasets.Dataset,
    validation_rows: datasets.Dataset,
    network: Predictions,
    calibrates: bool,
) -> Evidence | None:
    """All that can be learned of n-grams and helps, as one table; None where nothing helps.

    Args:
        config: The model's, which says which n-grams count.
        train_rows: The training texts, whole: columns `input_ids` and `labels`.
        validation_rows: The validation texts: column `input_ids`.
        network: What the network answers to them.
        calibrates: See `weigh`.
    """
    num_classes = network.logits.shape[1]
    train_rows = at_most(train_rows, config.ngram_size)
    table = learn_table(train_rows, num_classes, config.ngram_size, config.max_ngrams)
    if not len(table.key_G):  # no text has a token
        return None
    labels = labels_of(train_rows)
    is_multi_label = network.is_multi_label
    truths_NC = labels > 0 if is_multi_label else labels[:, None] == np.arange(num_classes)
    train_NG, validation_NG = (tf_idf_matrix(table, rows) for rows in (train_rows, validation_rows))
    learned = learn_all(train_NG, truths_NC, is_multi_label)
    weighed = choose(network, [validation_NG @ weight_GC for weight_GC in learned.values()], calibrates)
    if not weighed.weights.any():
        return None
    weight = float(weighed.weights.sum())
    shares = {kind: share for kind, share in zip(learned, weighed.weights / weight, strict=True) if share}
    table = table.with_weights(torch.from_numpy(sum(share * learned[kind] for kind, share in shares.items())))
    evidence_NC = torch.from_numpy(validation_NG @ table.weight_GC.float().numpy())
    weighted_NC = weight * damped(evidence_NC, weighed.damping).numpy()
    record = NgramsRecord(
        kind=" + ".join(shares), weight=weight, damping=weighed.damping, num_ngrams=len(table.key_G),
        share=share_of(weighted_NC, network.logits),
    )  # fmt: skip
    return Evidence(table, weighed.temperature, weighted_NC, record)


def network_accuracy(model: PreTrainedModel, rows: datasets.Dataset, predictions: Predictions) -> float:
    """Accuracy of the network alone: that of the same answers without what counts of n-grams add to them.

    Args:
        model: Perhaps with evidence, perhaps with adapters.
        rows: Texts, whole: column `input_ids`.
        predictions: What the model answers to them, one class for each.
    """
    classifier = trained_model(model)
    config = classifier.config
    added_NC = np.zeros_like(predictions.logits)
    ngrams = cast(NgramEvidence | None, classifier.ngrams)
    if ngrams is not None:
        counts = copy.deepcopy(ngrams).cpu()
        for packed, row_N in packed_batches(rows, "reading n-grams"):
            added_NC[row_N] = damped(counts(packed), config.ngram_damping).numpy()
    alone_NC = predictions.logits - config.ngram_weight / config.logit_temperature * added_NC
    return float(replace(predictions, logits=alone_NC).is_right().mean())


def scores_of(trainer: SalienceTrainer, predictions: Predictions, labels: np.ndarray) -> dict[str, Any]:
    """The scores and the loss of `trainer.predict` on the validation split, had the model answered so.

    Args:
        trainer: Trained.
        predictions: What the model answered.
        labels: (N,) or (N, C), of the type that the loss takes.
    """
    logits = predictions.logits.astype(np.float32)
    scores = flat_scores(predictions) | {"loss": trainer.loss_of(logits, labels)}
    return {f"eval_{name}": value for name, value in scores.items()}
