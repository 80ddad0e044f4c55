"""What is learned of n-grams is what scikit-learn learns of texts."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import ComplementNB
from sklearn.svm import LinearSVC
from torch.testing import assert_close

from salience.train.building.evidence import (
    INVERSE_PENALTY,
    LARGEST_TABLE,
    at_most,
    learn_table,
    logistic_regression,
    table_size,
    tf_idf_matrix,
)
from salience.train.data.tokens import num_tokens, packed_batches
from tests.helpers.counting import learned, pack, rows_of
from tests.helpers.tiny import random_batch

LENGTHS = [40, 3, 25, 31, 8, 60, 12, 2, 19]
CLASSES = [0, 1, 2] * 3


def test_of_more_ngrams_than_fit_some_texts_are_drawn(monkeypatch, caplog):
    rows = rows_of(random_batch(LENGTHS))
    assert at_most(rows, 2) is rows
    monkeypatch.setattr("salience.train.building.evidence.MOST_NGRAMS", 200)
    some = at_most(rows, 2)
    assert 0 < 2 * num_tokens(some).sum() <= 200 and len(some) > 1
    assert some["input_ids"] == at_most(rows, 2)["input_ids"]
    assert f"words are counted in {len(some)} of 9 training texts" in caplog.text


def words_of(batch):
    return [" ".join(map(str, ids)) for ids in rows_of(batch)["input_ids"]]


def bayes(matrix):
    return ComplementNB(alpha=0.1).fit(matrix, CLASSES).predict_joint_log_proba


def each_against_others(model, matrix):
    models = [clone(model).fit(matrix, np.array(CLASSES) == index) for index in range(3)]
    return lambda unseen: np.stack([model.decision_function(unseen) for model in models], 1)


def regression(matrix):
    model = LogisticRegression(C=INVERSE_PENALTY, solver="liblinear", fit_intercept=False, tol=1e-3)
    return each_against_others(model, matrix)


def svm(matrix):
    return each_against_others(LinearSVC(fit_intercept=False, tol=1e-3, random_state=0), matrix)


@pytest.mark.parametrize(
    ("kind", "learn"), [("naive Bayes", bayes), ("logistic regression", regression), ("linear SVM", svm)]
)
def test_it_is_the_tf_idf_and_the_classifier_of_scikit_learn_from_texts_on(kind, learn):
    batch, unseen = random_batch(LENGTHS), random_batch([50, 8], seed=9)
    evidence = learned(batch, CLASSES, kind)
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\d+")
    classify = learn(vectorizer.fit_transform(words_of(batch)))
    assert len(evidence.key_G) == len(vectorizer.vocabulary_)
    expected = classify(vectorizer.transform(words_of(unseen)))
    found = evidence(pack(unseen)).numpy()
    expected = expected - expected.mean(1, keepdims=True)  # what all classes have alike says nothing
    np.testing.assert_allclose(found, expected, atol=5e-3)  # half precision


def test_tf_idf_of_words_and_pairs_by_hand():
    ids = torch.tensor([[7, 8, 7], [7, 9, 0]])
    batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    found = tf_idf_matrix(learn_table(rows_of(batch), 2, 2, 100), rows_of(batch)).toarray()
    rare = np.log(3 / 2) + 1
    first = np.array([rare, rare, rare, 1 + np.log(2)])  # 8, pair 7 8, pair 8 7; 7 stands twice and in both texts
    second = np.array([rare, rare, 1])  # 9, pair 7 9; 7
    for row, values in zip(found, [first, second], strict=True):
        np.testing.assert_allclose(np.sort(row[row > 0]), np.sort(values / np.linalg.norm(values)), rtol=1e-6)


def test_the_matrix_has_the_order_of_the_rows_and_the_models_own_weights():
    batch = random_batch(LENGTHS)
    evidence = learned(batch, CLASSES)
    by_matrix = tf_idf_matrix(evidence, rows_of(batch)) @ evidence.weight_GC.float().numpy()
    assert_close(evidence(pack(batch)), torch.from_numpy(by_matrix), atol=1e-6, rtol=0)


def test_texts_of_many_batches_are_counted_as_those_of_one(monkeypatch):
    rows = rows_of(random_batch(LENGTHS))
    whole = learn_table(rows, 2, 2, 1000)
    monkeypatch.setattr("salience.train.data.tokens.TEXTS_AT_A_TIME", 1)
    one_by_one = learn_table(rows, 2, 2, 1000)
    assert torch.equal(whole.key_G, one_by_one.key_G) and torch.equal(whole.idf_G, one_by_one.idf_G)


def test_texts_in_another_order_are_as_long_as_they_are():
    rows = rows_of(random_batch(LENGTHS))
    order = np.argsort([-length for length in LENGTHS])
    assert num_tokens(rows.select(order)).tolist() == np.array(LENGTHS)[order].tolist()
    assert num_tokens(rows.select([])).tolist() == []


def test_a_limit_keeps_the_ngrams_of_most_texts():
    ids = torch.tensor([[7, 8, 9, 9], [7, 8, 5, 4], [7, 3, 3, 3]])
    table = learn_table(rows_of({"input_ids": ids, "attention_mask": torch.ones_like(ids)}), 2, 1, 2)
    assert table.key_G.tolist() == [8, 9]  # ids 7 and 8, counted from 1


@pytest.mark.parametrize("num_classes", [2, 20, 1000, 10**8])
def test_a_table_takes_no_more_than_its_bytes(num_classes):
    size = table_size(2**30, num_classes)
    assert size == 1 or size * (12 + 2 * num_classes) <= LARGEST_TABLE < (size + 1) * (12 + 2 * num_classes)
    assert table_size(5, 2) == 5


def test_a_class_without_texts_comes_last_and_one_of_all_texts_first():
    batch = random_batch(LENGTHS)
    rows = rows_of(batch)
    table = learn_table(rows, 4, 2, 1000)
    matrix = tf_idf_matrix(table, rows)
    truths = np.stack([np.array(CLASSES) == 0, np.array(CLASSES) > 0, np.zeros(9), np.ones(9)], 1)
    evidence = matrix @ logistic_regression(matrix, truths)
    assert (evidence[:, 2] <= evidence.min(1)).all() and (evidence[:, 3] >= evidence.max(1)).all()


def test_long_texts_are_read_few_at_a_time(monkeypatch):
    monkeypatch.setattr("salience.train.data.tokens.CELLS_AT_A_TIME", 100)
    rows = rows_of(random_batch(LENGTHS))
    batches = list(packed_batches(rows, "reading"))
    assert sorted(np.concatenate([row for _, row in batches])) == list(range(len(LENGTHS)))
    for packed, row in batches:
        assert len(row) == 1 or packed.mask_BT.numel() <= 100
        for mask, each in zip(packed.mask_BT, row, strict=True):
            assert mask.sum() == LENGTHS[each]
