"""Why a classifier answers as it does to one text, in words, sentences and spans of the text: `explain`.

Shapes
    T = tokens of one text, W = words of one text
"""

import re
import unicodedata
from typing import Any, NamedTuple

import numpy as np

from .attributions import UNMEASURED_METHOD, counted_words, logit_change, method_named
from .subject import Subject

# Marks that end a sentence where white space follows, also Arabic, Urdu and Hindi ones; and Chinese ones, anywhere.
SPACED_ENDS, UNSPACED_ENDS = ".!?\u2026\u061f\u06d4\u0964", "\u3002\uff01\uff1f"
CLOSING = "\"'\u2019\u201d\u00bb)\\]"
"""Quotes and brackets that may stand behind an end mark, as they are written in a regular expression's set."""
_SENTENCE_END = re.compile(rf"[{SPACED_ENDS}]+[{CLOSING}]*(?=\s)|[{UNSPACED_ENDS}]+|\n+")
# What follows a character and is drawn with it: zero-width joiner; skin tones are symbols of their own category.
_JOINER, _MARKS, _SKIN_TONES = "\u200d", ("Mn", "Mc", "Me"), range(0x1F3FB, 0x1F400)


class Piece(NamedTuple):
    """A word of a text, with what is known of it."""

    start: int  # first character
    end: int  # the one behind the last
    weight: float
    counts: float  # added to the class's logit
    sentence: int  # -1 for none
    is_dropped: bool


def explain(subject: Subject, target: int, method: str) -> dict[str, Any]:
    """What each word and sentence of a text weighs in a class's answer.

    Args:
        subject: The text before its classifier.
        target: Number of the class.
        method: A key of `METHODS`.

    Returns:
        method, target (the class's name), and
        words      [{word, start, end, weight}], in their order; `text[start:end]` is the word. Of a model that counts
                   n-grams also `counts`: what the word adds to the class's logit by them, which is a part of its weight
                   by gradients, and no part of it by attention
        sentences  [{sentence, start, end, weight}]: a sentence weighs what its words weigh together. A hierarchical
                   model's are those that it read, others end with a mark or a line
        dropped    [{word, start, end}] of a hierarchical model: the words that its filter has dropped, or that lie
                   beyond what it reads
        spans      [(text, weight)]: words and, with None, what is between them. Joined they are the text; weights are
                   divided by the largest, so that they lie between -1 and 1
        completeness  of integrated gradients: {sum, logit_change}: what the words weigh together, and by how much the
                   class's logit is higher than without the words, see `attributions.logit_change`: nearly the same
        logit      of a model that counts n-grams: {value, network, counts, bias}: the class's logit, and what it is the
                   sum of. `counts` are those of the words, `bias` has those of special tokens and the correction for
                   the prior
        faithfulness  {comprehensiveness, random, texts} as it was measured after training, where it was; and `naopc`,
                   the same on the model's own scale: {method, random, texts}, and `p_value` of their difference

    Raises:
        ValueError: The method is unknown, or isn't possible with this model.
    """
    has_words = subject.document.num_words > 0  # without any there may be no tokens, of which no method knows anything
    weights_W = method_named(method)(subject, target) if has_words else np.zeros(0)
    pieces = words_of(subject, weights_W, counted_words(subject, target))
    text, config = subject.document.text, subject.model.config
    logit = parts_of_logit(subject, target)
    found: dict[str, Any] = {
        "method": method,
        "target": config.id2label[target],
        "words": [_word(text, each, logit is not None) for each in pieces],
        "sentences": sentences_of(text, pieces),
        "spans": spans_of(text, pieces),
    }
    if subject.of_tokens("sentence_ids") is not None:
        found["dropped"] = [{"word": text[each.start : each.end], **_place(each)} for each in pieces if each.is_dropped]
    if method == "integrated_gradients":
        change = logit_change(subject, target) if has_words else 0.0
        found["completeness"] = {"sum": float(weights_W.sum()), "logit_change": change}
    if logit is not None:
        found["logit"] = logit
    if faithfulness := measured(config, method):
        found["faithfulness"] = faithfulness
    return found


def parts_of_logit(subject: Subject, target: int) -> dict[str, float] | None:
    """What a class's logit is the sum of, see `explain`; None where the model counts no n-grams.

    Args:
        subject: The text before its classifier.
        target: Number of the class.
    """
    counted_T = subject.counted(target)
    if counted_T is None:
        return None
    is_word_T, prior = subject.document.word_of >= 0, subject.model.config.prior_correction
    value, counts = subject.outputs.logits[0, target].item(), float(counted_T[is_word_T].sum())
    bias = float(counted_T[~is_word_T].sum()) - (0 if prior is None else prior[target])
    return {"value": value, "network": value - counts - bias, "counts": counts, "bias": bias}


def _word(text: str, piece: Piece, is_counted: bool) -> dict[str, Any]:
    counts = {"counts": piece.counts} if is_counted else {}
    return {"word": text[piece.start : piece.end], **_place(piece), "weight": piece.weight, **counts}


def _place(piece: Piece) -> dict[str, int]:
    return {"start": piece.start, "end": piece.end}


def best_method(config: Any) -> tuple[str, bool]:
    """The method that explains a model best, and whether that was measured.

    Args:
        config: The model's: after training, its `explanation` says it.
    """
    explanation = getattr(config, "explanation", None)
    return (explanation["method"], True) if explanation else (UNMEASURED_METHOD, False)


def measured(config: Any, method: str) -> dict[str, Any] | None:
    """How faithful a method was measured to be for a model; None where it wasn't.

    Args:
        config: The model's.
        method: A key of `METHODS`.
    """
    explanation = getattr(config, "explanation", None) or {}
    found = explanation.get("comprehensiveness", {}).get(method)
    if found is None:
        return None
    figures = {"comprehensiveness": found, "random": explanation.get("random"), "texts": explanation.get("texts")}
    naopc = explanation.get("naopc") or {}
    if method in naopc.get("methods", {}):
        figures["naopc"] = {"method": naopc["methods"][method], "random": naopc["random"], "texts": naopc["texts"]}
        figures["naopc"]["p_value"] = naopc.get("p_values", {}).get(method)  # None: of an earlier version
    return figures


def words_of(subject: Subject, weights_W: np.ndarray, counts_W: np.ndarray) -> list[Piece]:
    """The words of a text, none within another: those that share a character, or have none, are one.

    Args:
        subject: The text before its classifier.
        weights_W: Of the tokenizer's words.
        counts_W: What they add to the class's logit by counts.
    """
    document = subject.document
    sentence_W, dropped_W = sentence_numbers(subject), dropped_words(subject)
    pieces: list[Piece] = []
    for number, (start, end) in enumerate(document.word_spans.tolist()):
        start, end = drawn_together(document.text, start, end)
        weight, counts = float(weights_W[number]), float(counts_W[number])
        piece = Piece(start, end, weight, counts, int(sentence_W[number]), bool(dropped_W[number]))
        if pieces and (start < pieces[-1].end or start == end):
            before = pieces.pop()
            piece = before._replace(
                end=max(before.end, end),
                weight=before.weight + piece.weight,
                counts=before.counts + piece.counts,
                is_dropped=before.is_dropped and piece.is_dropped,
            )
        if piece.start < piece.end:
            pieces.append(piece)
    return pieces


def drawn_together(text: str, start: int, end: int) -> tuple[int, int]:
    """A word without white space around it, and with the marks behind it that are drawn on its last character."""
    stripped = text[start:end].strip()
    if stripped:
        start += text[start:end].index(stripped)
        end = start + len(stripped)
    while start < end < len(text) and (
        text[end] == _JOINER or unicodedata.category(text[end]) in _MARKS or ord(text[end]) in _SKIN_TONES
    ):
        end += 1
    return start, end


def dropped_words(subject: Subject) -> np.ndarray:
    """Which words have no part in the document vector, bool (W,)."""
    weights_T, document = subject.of_tokens("pooling_weights"), subject.document
    if weights_T is None:
        return np.zeros(document.num_words, dtype=bool)
    return document.per_word((weights_T > 0).astype(float)) == 0


def sentence_numbers(subject: Subject) -> np.ndarray:
    """The sentence of each word, (W,); -1 for none. Where the model has no sentences, marks and lines end them."""
    document, sentence_T = subject.document, subject.of_tokens("sentence_ids")
    if sentence_T is None:
        ends = [match.end() for match in _SENTENCE_END.finditer(document.text)]
        return np.searchsorted(ends, document.word_spans[:, 0], side="right")
    found = np.full(document.num_words, -1)
    inside = (document.word_of >= 0) & (sentence_T >= 0)
    np.maximum.at(found, document.word_of[inside], sentence_T[inside].astype(int))
    return found


def sentences_of(text: str, pieces: list[Piece]) -> list[dict[str, Any]]:
    """The sentences that words make, with their weights; see `explain`."""
    groups: dict[int, list[Piece]] = {}
    for piece in pieces:
        if piece.sentence >= 0:
            groups.setdefault(piece.sentence, []).append(piece)
    return [
        {
            "sentence": text[group[0].start : group[-1].end],
            "start": group[0].start,
            "end": group[-1].end,
            "weight": sum(each.weight for each in group),
        }
        for group in groups.values()
    ]


def spans_of(text: str, pieces: list[Piece]) -> list[tuple[str, float | None]]:
    """Words with their weights over the largest, and None for what is between them; see `explain`."""
    largest = max((abs(each.weight) for each in pieces), default=0.0) or 1.0
    spans: list[tuple[str, float | None]] = []
    place = 0
    for piece in pieces:
        spans.append((text[place : piece.start], None))
        spans.append((text[piece.start : piece.end], piece.weight / largest))
        place = piece.end
    return [span for span in [*spans, (text[place:], None)] if span[0]]
