"""Finds texts that stand in two splits, and drops them from the earlier one if asked."""

import logging
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from pandas.util import hash_array

from salience.configuration.errors import UserError
from salience.configuration.problem_types import SINGLE_LABEL
from salience.train.data.encoded import ROWS_PER_BATCH, count_classes, labels_of
from salience.train.data.labels import LabelScheme

logger = logging.getLogger(__name__)

LARGE = pa.large_string()  # a plain one ends at 2 GiB


def without_leaks(
    splits: dict[str, Dataset], scheme: LabelScheme, drop: bool
) -> tuple[dict[str, Dataset], dict[str, int]]:
    """Texts of a split that a later one (validation, test) tests again: dropped from the earlier one, or counted.

    Args:
        splits: In the order train, validation, test.
        scheme: What their labels mean.
        drop: Whether to drop them.

    Returns:
        The splits, and of held-out ones how many of their texts stand in the training split, too, where any do.

    Raises:
        UserError: No text of a split, or no training text of a class, would be left.
    """
    splits, order, seen = dict(splits), list(splits), {}
    for number, name in enumerate(order[:-1]):
        leaked = _leaked(splits[name], [splits[later] for later in order[number + 1 :]])
        if not leaked.any():
            continue
        if not drop:
            logger.warning(
                "%d %s texts are held-out texts too, word for word; drop them with --drop_leaked true",
                leaked.sum(),
                name,
            )
            if name == "train":
                known = pc.unique(_texts(splits[name].select(np.flatnonzero(leaked))))
                counts = {later: int(_standing_in(splits[later], known).sum()) for later in order[1:]}
                seen = {later: count for later, count in counts.items() if count}
            continue
        kept = splits[name].select(np.flatnonzero(~leaked))
        _refuse_losses(splits[name], kept, name, scheme)
        splits[name] = kept
        logger.warning("%d %s texts are dropped: they are held-out texts too, word for word", leaked.sum(), name)
    return splits, seen


def tell_contradictions(splits: dict[str, Dataset], scheme: LabelScheme) -> None:
    """Warn of texts that stand several times, with different labels, where each text has one.

    Args:
        splits: Of all of them.
        scheme: What their labels mean.
    """
    if scheme.problem_type != SINGLE_LABEL:
        return
    texts = pa.chunked_array([chunk for rows in splits.values() for chunk in _texts(rows).chunks], LARGE)
    is_blank = np.concatenate([np.asarray(pc.equal(pc.utf8_trim_whitespace(each), "")) for each in texts.chunks])
    hashes = [hash_array(each.to_numpy(zero_copy_only=False), categorize=False) for each in texts.chunks]
    text_N = np.concatenate(hashes)[~is_blank]
    class_N = np.concatenate([labels_of(rows) for rows in splits.values()])[~is_blank]
    order = np.lexsort((class_N, text_N))
    text_N, class_N = text_N[order], class_N[order]
    contradicts = (text_N[1:] == text_N[:-1]) & (class_N[1:] != class_N[:-1])
    if count := len(np.unique(text_N[1:][contradicts])):
        logger.warning(
            "%d texts stand several times, with different labels, of which one at most can be right; if a text can "
            "have several, give it once, with all its labels (--label_separator)",
            count,
        )


def _refuse_losses(rows: Dataset, kept: Dataset, split: str, scheme: LabelScheme) -> None:
    way_out = "leave out --drop_leaked, or give other held-out texts"
    if not len(kept):
        raise UserError(f"--drop_leaked true drops every {split} text: each is a held-out text too; {way_out}")
    before, after = _class_counts(rows, scheme), _class_counts(kept, scheme)
    lost = np.flatnonzero((before > 0) & (after == 0))
    if split == "train" and len(lost):
        raise UserError(f"--drop_leaked true drops every training text of '{scheme.names[lost[0]]}'; {way_out}")


def _class_counts(rows: Dataset, scheme: LabelScheme) -> np.ndarray:
    return count_classes(labels_of(rows), scheme.problem_type, len(scheme.names))


def _leaked(rows: Dataset, held_out: list[Dataset]) -> np.ndarray:
    """Which rows have a text, not empty, that also stands in a held-out split word for word, bool (rows,)."""
    tested = pa.chunked_array([chunk for split in held_out for chunk in _texts(split).chunks], LARGE)
    return _standing_in(rows, pc.unique(tested))


def _standing_in(rows: Dataset, known: pa.Array) -> np.ndarray:
    """Which rows have a text, not empty, that is among these, bool (rows,)."""
    found = [
        pc.and_(pc.is_in(texts, value_set=known), pc.not_equal(pc.utf8_trim_whitespace(texts), ""))
        for texts in _batches(rows)
    ]
    return np.concatenate([np.asarray(each) for each in found])


def _texts(rows: Dataset) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for texts in _batches(rows) for chunk in texts.chunks], LARGE)


def _batches(rows: Dataset) -> Iterator[pa.ChunkedArray]:
    return (batch["text"].cast(LARGE) for batch in rows.with_format("arrow").iter(ROWS_PER_BATCH))
