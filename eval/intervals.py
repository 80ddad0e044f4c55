"""How far a score may be off because these test texts were drawn and not others."""

import numpy as np

from .paired import NUM_RESAMPLES
from .predictions import Predictions

RESAMPLES_AT_A_TIME = 500


def score_intervals(predictions: Predictions, seed: int = 0) -> dict[str, list[float]]:
    """Bootstrap 95 % intervals (2.5 and 97.5 % percentile) of accuracy and macro F1 over the test texts.

    Texts with the same class and the same answer are alike for both scores, so that a draw of N texts is a multinomial
    draw of the cells of the confusion matrix. As in scikit-learn, macro F1 runs over the classes that occur among the
    drawn texts or their answers.

    Args:
        predictions: Answers to texts with exactly one class each: labels (N,), logits (N, C).
        seed: Of the draws.

    Returns:
        `accuracy` and `f1_macro`, each [low, high], 0 to 1.
    """
    random = np.random.default_rng(seed)
    num_classes, num_texts = predictions.logits.shape[1], len(predictions.labels)
    cells, counts = np.unique(predictions.labels * num_classes + predictions.logits.argmax(1), return_counts=True)
    one_hot = np.eye(num_classes)
    truth_KC, answer_KC = one_hot[cells // num_classes], one_hot[cells % num_classes]  # K cells that aren't empty
    accuracy, f1_macro = [], []
    for start in range(0, NUM_RESAMPLES, RESAMPLES_AT_A_TIME):
        size = min(RESAMPLES_AT_A_TIME, NUM_RESAMPLES - start)
        draws_SK = random.multinomial(num_texts, counts / num_texts, size=size).astype(float)
        right_SC = draws_SK @ (truth_KC * answer_KC)
        occurs_SC = draws_SK @ (truth_KC + answer_KC)  # as class plus as answer
        f1_SC = 2 * right_SC / np.maximum(occurs_SC, 1)
        accuracy.append(right_SC.sum(1) / num_texts)
        f1_macro.append(f1_SC.sum(1) / (occurs_SC > 0).sum(1))
    found = {"accuracy": np.concatenate(accuracy), "f1_macro": np.concatenate(f1_macro)}
    return {name: np.percentile(values, [2.5, 97.5]).tolist() for name, values in found.items()}
