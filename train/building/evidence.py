"""Evidence of n-grams, learned from the training texts: linear classifiers on their TF-IDF, beside the network.

Shape suffixes
    N = texts, C = classes, G = n-grams of the table, M = n-grams of a batch
"""

import logging
from collections.abc import Callable, Sequence

import datasets
import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import ComplementNB
from sklearn.svm import LinearSVC
from torch import Tensor
from transformers import PreTrainedModel

from salience.modeling.ngram_evidence import NgramEvidence
from salience.modeling.windows import PackedInputs
from salience.train.building.lora import beside_adapters, trained_model
from salience.train.data.tokens import num_tokens, packed_batches

logger = logging.getLogger(__name__)

# Of a table, in bytes; a model of a million n-grams and many classes would be mostly counts.
LARGEST_TABLE = 64 * 2**20
# Of complement naive Bayes, as in the best of the sparse baselines.
SMOOTHING = 0.1
# Inverse strength of logistic regression's penalty: of 10, 30 and 100 it is best or next to it by likelihood on the
# validation texts of BBC News and of 20 Newsgroups.
INVERSE_PENALTY = 30
# N-grams that linear classifiers are fitted on, some 46 bytes each; of more texts some are drawn.
MOST_NGRAMS = 2**26


def at_most(rows: datasets.Dataset, size: int) -> datasets.Dataset:
    """Texts of `MOST_NGRAMS` n-grams at most: all of them, or some that are drawn at random.

    Args:
        rows: The training texts, whole: column `input_ids`.
        size: Longest n-gram, in tokens.
    """
    ngrams_N = size * num_tokens(rows)
    if ngrams_N.sum() <= MOST_NGRAMS:
        return rows
    order = np.random.default_rng(0).permutation(len(rows))
    drawn = np.sort(order[: max(1, int((ngrams_N[order].cumsum() <= MOST_NGRAMS).sum()))])
    logger.warning("words are counted in %d of %d training texts, drawn at random", len(drawn), len(rows))
    return rows.select(drawn)


def table_size(max_ngrams: int, num_classes: int) -> int:
    """N-grams of a table at most: a key of 8 bytes, 4 of its inverse document frequency, 2 for each class."""
    return max(1, min(max_ngrams, LARGEST_TABLE // (8 + 4 + 2 * num_classes)))


def learn_table(rows: datasets.Dataset, num_classes: int, size: int, max_ngrams: int) -> NgramEvidence:
    """The n-grams of most training texts and their inverse document frequencies; weights are still 0.

    Args:
        rows: The training texts, whole: column `input_ids`.
        num_classes: C.
        size: Longest n-gram, in tokens.
        max_ngrams: See `table_size`.
    """
    limit = table_size(max_ngrams, num_classes)
    reader = NgramEvidence(num_classes, 0, size)
    found = [(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))]
    for packed, _ in packed_batches(rows, "counting n-grams"):
        found.append(texts_of_ngrams(reader, packed))
        if sum(len(key_M) for key_M, _ in found[1:]) > len(found[0][0]):  # sorted anew only as often as it doubles
            found = [added(found)]
            if len(found[0][0]) > 16 * limit:  # what is rare so far makes room
                found = [most_frequent(*found[0], 8 * limit)]
    key_G, texts_G = most_frequent(*added(found), limit)
    table = NgramEvidence(num_classes, len(key_G), size)
    table.key_G = key_G
    table.idf_G = ((1 + len(rows)) / (1 + texts_G.double())).log().float() + 1
    table.weight_GC.zero_()
    return table


def attach(model: PreTrainedModel, table: NgramEvidence, weight: float, damping: float) -> None:
    """Give a trained model evidence of n-grams.

    Args:
        model: A classifier of ours, perhaps with adapters.
        table: Its evidence.
        weight: Of the evidence, damped.
        damping: See `damping_factor`.
    """
    classifier = trained_model(model)
    config = classifier.config
    config.ngram_weight, config.ngram_damping, config.num_ngrams = weight, damping, len(table.key_G)
    classifier.ngrams = beside_adapters(model, "ngrams", table.to(classifier.device))


def texts_of_ngrams(reader: NgramEvidence, packed: PackedInputs) -> tuple[Tensor, Tensor]:
    """The distinct n-grams of a batch, and in how many of its texts each stands, (M,)."""
    text_N, key_N = reader.ngrams(packed)
    order_N = key_N.argsort(stable=True)
    text_N, key_N = text_N[order_N], key_N[order_N]  # within a key, texts ascend
    is_new_N = torch.ones_like(key_N, dtype=torch.bool)
    is_new_N[1:] = (key_N[1:] != key_N[:-1]) | (text_N[1:] != text_N[:-1])
    return key_N[is_new_N].unique(return_counts=True)


def added(counted: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The distinct keys of several counts, ascending, and in how many texts of all they stand, (G,)."""
    keys, counts = zip(*counted, strict=True)
    key_G, same = torch.cat(keys).unique(return_inverse=True)
    return key_G, torch.zeros_like(key_G).index_add(0, same, torch.cat(counts))


def most_frequent(key_G: Tensor, texts_G: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The `limit` keys of most texts, still ascending, and in how many they stand."""
    kept = texts_G.argsort(descending=True, stable=True)[:limit].sort().values
    return key_G[kept], texts_G[kept]


def tf_idf_matrix(table: NgramEvidence, rows: datasets.Dataset) -> csr_matrix:
    """TF-IDF of texts, (N, G), in the order of the rows.

    Args:
        table: From `learn_table`.
        rows: Texts, whole: column `input_ids`.
    """
    texts, ngrams, weights = [], [], []
    for packed, row_B in packed_batches(rows, "reading n-grams"):
        text_M, row_M, weight_M = table.tf_idf(packed)
        texts.append(row_B[text_M.numpy()])
        ngrams.append(row_M.numpy())
        weights.append(weight_M.numpy())
    places = (np.concatenate(texts), np.concatenate(ngrams))
    return csr_matrix((np.concatenate(weights), places), shape=(len(rows), len(table.key_G)))


def naive_bayes(matrix_NG: csr_matrix, truths_NC: np.ndarray) -> np.ndarray:
    """Weights (G, C) of complement naive Bayes (Rennie et al. 2003): how rare an n-gram is in all other classes.

    Args:
        matrix_NG: TF-IDF of the training texts.
        truths_NC: Zeros and ones, one of them for each text.
    """
    classes = range(truths_NC.shape[1])
    bayes = ComplementNB(alpha=SMOOTHING).partial_fit(matrix_NG, truths_NC.argmax(1), classes=classes)
    return bayes.feature_log_prob_.T


def logistic_regression(matrix_NG: csr_matrix, truths_NC: np.ndarray) -> np.ndarray:
    """Weights (G, C) of logistic regression; see `each_against_others`."""
    return each_against_others(
        matrix_NG, truths_NC, LogisticRegression(C=INVERSE_PENALTY, solver="liblinear", fit_intercept=False, tol=1e-3)
    )


def linear_svm(matrix_NG: csr_matrix, truths_NC: np.ndarray) -> np.ndarray:
    """Weights (G, C) of a linear support vector machine, as in the sparse baselines; see `each_against_others`."""
    return each_against_others(matrix_NG, truths_NC, LinearSVC(fit_intercept=False, tol=1e-3, random_state=0))


def each_against_others(
    matrix_NG: csr_matrix, truths_NC: np.ndarray, classifier: LogisticRegression | LinearSVC
) -> np.ndarray:
    """Weights (G, C) of a linear classifier for each class against the others, without biases.

    What all texts have in common takes a bias's part. A class that no training text has, or that all have, gets the
    lowest weight of all, or the highest: it comes last, or first.

    Args:
        matrix_NG: TF-IDF of the training texts.
        truths_NC: Zeros and ones.
        classifier: Of two classes; it is fitted anew for each.
    """
    weight_GC = np.zeros((matrix_NG.shape[1], truths_NC.shape[1]))
    is_both_C = (truths_NC == 1).any(0) & (truths_NC == 0).any(0)
    for index in np.flatnonzero(is_both_C):
        weight_GC[:, index] = classifier.fit(matrix_NG, truths_NC[:, index]).coef_[0]
    for index in np.flatnonzero(~is_both_C):
        extreme = weight_GC.max(1) if truths_NC[0, index] else weight_GC.min(1)
        weight_GC[:, index] = extreme
    return weight_GC


Learner = Callable[[csr_matrix, np.ndarray], np.ndarray]
LEARNERS: dict[str, Learner] = {
    "naive Bayes": naive_bayes,
    "logistic regression": logistic_regression,
    "linear SVM": linear_svm,
}
# Those of them whose classes don't exclude each other.
OF_SEVERAL_LABELS = ("logistic regression", "linear SVM")


def learn_all(matrix_NG: csr_matrix, truths_NC: np.ndarray, is_multi_label: bool) -> dict[str, np.ndarray]:
    """Weights (G, C) of each kind of evidence, by its name.

    Args:
        matrix_NG: TF-IDF of the training texts.
        truths_NC: Zeros and ones.
        is_multi_label: A text can have several labels; else the weights say how a class differs from the mean of all.
    """
    kinds = OF_SEVERAL_LABELS if is_multi_label else tuple(LEARNERS)
    return {kind: learn(kind, matrix_NG, truths_NC, is_multi_label) for kind in kinds}


def learn(kind: str, matrix_NG: csr_matrix, truths_NC: np.ndarray, is_multi_label: bool) -> np.ndarray:
    """Weights (G, C) of one kind of evidence, a key of `LEARNERS`; see `learn_all`."""
    weight_GC = LEARNERS[kind](matrix_NG, truths_NC)
    if not is_multi_label:
        weight_GC = weight_GC - weight_GC.mean(1, keepdims=True)
    return weight_GC.astype(np.float32)
