"""Failure modes 1 to 5 (Newsgroups paper, section 6.1), and how each shows in a document.

A score is of what the model calls words: tokens as it reads them, special tokens included. A new failure mode is a line
in `FAILURE_MODES` and a function that measures it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from salience.eval.failures.internals import Insides
from salience.eval.failures.rates import Band
from salience.eval.failures.remedies import Remedy
from salience.modeling.word_filter import BOUNDARY_WORDS

CONCENTRATION_SHARE = 0.1
Score = Callable[[Insides], float]


def score_deviation(insides: Insides) -> float:
    """Standard deviation of importance over words; nan with less than two."""
    return float(np.std(insides.importance, dtype=float)) if len(insides.importance) > 1 else np.nan


def relative_deviation(insides: Insides) -> float:
    """Standard deviation of importance over its mean: 0 for equal words, in a text of any length."""
    mean = float(np.mean(insides.importance, dtype=float)) if insides.importance.size else 0.0
    return _ratio(score_deviation(insides), mean)


def vector_similarity(insides: Insides) -> float:
    """Mean cosine of all pairs of contextual word vectors."""
    return insides.mean_cosine


def concentration(insides: Insides) -> float:
    """Share of all importance that the top 10 % of words have, the last of them counted by its part.

    So it is 0.1 for equal words in a text of any length, and 1 at most; nan without any importance.
    """
    ranked = np.sort(insides.importance.astype(float))[::-1]
    wanted = CONCENTRATION_SHARE * len(ranked)
    counted = np.clip(wanted - np.arange(len(ranked)), 0, 1)
    return _ratio(float(counted @ ranked), ranked.sum())


def boundary_mass(insides: Insides) -> float:
    """Share of all importance that the first and last three positions have; nan without any."""
    importance = insides.importance.astype(float)
    return _ratio(importance[_at_boundary(insides)].sum(), importance.sum())


def relative_boundary_mass(insides: Insides) -> float:
    """The same over the share of words that stand there: 1 for equal words, in a text of any length."""
    at_boundary = _at_boundary(insides)
    return _ratio(boundary_mass(insides), float(at_boundary.mean()) if at_boundary.size else 0)


def cross_entropy(insides: Insides) -> float:
    """Entropy of the cross-attention in nats, mean over kept words and heads; nan without any."""
    return float(insides.entropy.mean(dtype=float)) if insides.entropy is not None and insides.entropy.size else np.nan


def relative_cross_entropy(insides: Insides) -> float:
    """The same over the logarithm of the number of sentences: 0 for one sentence, 1 for all alike.

    An entropy can't exceed that logarithm, 0.69 for two sentences: the absolute limits would measure length. nan with
    less than two sentences.
    """
    sentences = insides.num_sentences or 0
    return _ratio(cross_entropy(insides), float(np.log(sentences)) if sentences > 1 else 0)


def _at_boundary(insides: Insides) -> np.ndarray:
    from_end = insides.position.max(initial=0) - insides.position
    return np.minimum(insides.position, from_end) < BOUNDARY_WORDS


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else np.nan


@dataclass(frozen=True)
class FailureMode:
    """A failure, how it shows in a document, and what helps.

    Attributes:
        number: Its number in the Newsgroups paper's section 6.1.
        title: What goes wrong.
        score_name: What `score` is, in words.
        score: Measures one document; nan where it can't.
        seed: The Newsgroups paper's limits for `score`, outside of which a document shows the failure.
        tails: Where the failure lies: "low", "high" or "both".
        remedies: Flags to change; those that a model doesn't have are left out.
        relative_score_name: What `relative_score` is, in words; None: `score` is used, whatever the document's length.
        relative_score: The same as `score` for comparison between documents of different length.
        part: Field of `Insides` without which a model can't fail so.
        needs_calibration: Whether the Newsgroups paper's limits mean something else in each document.
    """

    number: int
    title: str
    score_name: str
    score: Score
    seed: Band
    tails: str
    remedies: tuple[Remedy, ...]
    relative_score_name: str | None = None
    relative_score: Score | None = None
    part: str = "importance"
    needs_calibration: bool = False

    def can_occur(self, insides: Sequence[Insides]) -> bool:
        """Whether the model whose insides these are has what fails."""
        return all(getattr(each, self.part) is not None for each in insides)


MORE_OF_THE_MEAN = Remedy(
    "alpha", "higher", "alpha is the share of the plain mean, in which all words count", lambda now: now < 1
)


FAILURE_MODES: dict[str, FailureMode] = {
    "uniform_scores": FailureMode(
        number=1,
        title="importance is much the same for all words",
        score_name="standard deviation of importance over words",
        score=score_deviation,
        seed=Band(low=0.1),
        tails="low",
        relative_score_name="standard deviation of importance over its mean",
        relative_score=relative_deviation,
        remedies=(
            Remedy("learn_temperature", "true", "a learned temperature can sharpen the scores"),
            Remedy("entropy_weight", "above 0, as 0.1", "the loss rewards scores that differ"),
            Remedy(
                "alpha",
                "lower",
                "alpha is the share of the plain mean, for which all words are alike",
                lambda now: now > 0,
            ),
        ),
    ),
    "collapsed_context": FailureMode(
        number=2,
        title="contextual word vectors are much the same",
        score_name="cosine of two contextual word vectors, mean over all pairs",
        score=vector_similarity,
        seed=Band(high=0.9),
        tails="high",
        remedies=(
            Remedy(
                "encoder",
                "a pretrained one",
                "its vectors tell words apart before training",
                lambda now: now is None,
                "encoder_config",
            ),
            Remedy(
                "reconstruction_weight",
                "above 0, as 1.0",
                "a word's vector must tell which word it is",
            ),
        ),
    ),
    "concentration": FailureMode(
        number=3,
        title="a few words have most of the importance",
        score_name="share of importance that the top 10 % of words have",
        score=concentration,
        seed=Band(high=0.8),
        tails="high",
        remedies=(
            Remedy("diversity_weight", "above 0, as 0.1", "the loss punishes concentration"),
            MORE_OF_THE_MEAN,
        ),
    ),
    "boundary_words": FailureMode(
        number=4,
        title="the first and last words have most of the importance",
        score_name="share of importance that the first and last three positions have",
        score=boundary_mass,
        seed=Band(high=0.5),
        tails="high",
        relative_score_name="the same share over the share of words that stand there",
        relative_score=relative_boundary_mass,
        remedies=(
            Remedy("idf_prior", "true", "common words lose importance"),
            Remedy("boundary_penalty", "above 0, as 0.5", "the outermost words lose importance"),
            MORE_OF_THE_MEAN,
        ),
    ),
    "misaligned_cross_attention": FailureMode(
        number=5,
        title="words attend to too few sentences, or to all alike",
        score_name="entropy of cross-attention in nats, mean over kept words and heads",
        score=cross_entropy,
        seed=Band(1.0, 2.5),
        tails="both",
        relative_score_name="the same entropy over the logarithm of the number of sentences",
        relative_score=relative_cross_entropy,
        part="entropy",
        needs_calibration=True,
        remedies=(
            Remedy(
                "fusion",
                "gated",
                "a gate balances each word with what it read in sentences",
                lambda now: now == "residual",
            ),
        ),
    ),
}
