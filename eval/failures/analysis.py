"""Where a model fails as the Newsgroups paper's section 6 says, whether that goes with errors, and what helps.

`failure_analysis` gives the content of failure_analysis.json:

    applicable: whether the model has weights to look at; with false, `reason` says why not and the rest is null
    documents, right, wrong: how many, and how many of the predictions are right and wrong
    modes: {name of `FAILURE_MODES`: null where the model has no such part, or {
        number, title, score, relative_score: what is measured, in words
        seed: {low, high (the paper's limits of the score; null for none), documents (with a score), share (flagged),
            right, wrong: {documents, flagged, share}, odds_ratio (of being wrong; null where a count is 0), p_value
            (Fisher's exact test), discriminates (whether 1 % to 99 % are flagged)}
        calibrated: null with too few right or wrong predictions, or limits that were chosen for the relative score on
            one half of the documents: {low, high, chosen_on (documents), and seen on the other half: documents, share,
            right, wrong, odds_ratio, p_value, youden_j, auc: {auc, low, high} of the relative score for "the prediction
            is wrong", discriminates (as above, and youden_j above 0)}
        use: "seed" or "calibrated", the limits to look at: the paper's unless they don't discriminate or (mode 5) mean
            something else in each document; null where the others don't discriminate either
        goes_with_errors: whether it occurs more often among wrong predictions by the limits in use, with a p_value
            below 0.05 / 5; null without limits in use
        scores, relative_scores: {right, wrong: {mean, sd, p5, p50, p95}, null without any}
        examples: row numbers of flagged wrong predictions by the limits in use, the farthest outside first, at most 5
        remedies: [{flag, advice, why, current, measured_effect}], see `remedies`: for whoever sees
            it go with errors; none that the model has already}}
    interventions: see `salience.eval.failures.forced_filter`; null for a model without a word filter

Shapes
    N = documents, C = classes
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from salience.configuration.errors import UserError
from salience.eval.failures.forced_filter import Interventions, NoInterventions, interventions
from salience.eval.failures.internals import Insides, has_filter, has_insides, read_insides
from salience.eval.failures.modes import FAILURE_MODES, FailureMode
from salience.eval.failures.rates import Band, Calibrated, Limits, Occurrence, calibrate, occurrence
from salience.eval.failures.remedies import OfferedRemedy
from salience.eval.reading.reader import Reader
from salience.modeling.documents import Document

# Limits that flag a smaller share of documents, or spare a smaller one, tell nothing of the others.
SMALLEST_SHARE = 0.01
NUM_EXAMPLES = 5
# One in twenty, divided by the number of failure modes that are looked for (Bonferroni).
LARGEST_P_VALUE = 0.05 / len(FAILURE_MODES)


class Distribution(TypedDict):
    """Of a score over documents."""

    mean: float
    sd: float
    p5: float
    p50: float
    p95: float


class ByOutcome(TypedDict):
    """A score among right and wrong predictions, null without any."""

    right: Distribution | None
    wrong: Distribution | None


class Seen(Occurrence):
    """How often a failure occurs, and whether that tells anything."""

    discriminates: bool


class SeenBySeed(Seen, Limits):
    """The same by the Newsgroups paper's limits."""


class SeenByCalibration(Calibrated):
    """The same by limits that were chosen on other documents."""

    discriminates: bool


class Mode(TypedDict):
    """What is seen of a failure mode; see the module."""

    number: int
    title: str
    score: str
    relative_score: str
    seed: SeenBySeed
    calibrated: SeenByCalibration | None
    use: str | None
    goes_with_errors: bool | None
    scores: ByOutcome
    relative_scores: ByOutcome
    examples: list[int]


class ModeWithRemedies(Mode):
    """The same with what helps."""

    remedies: list[OfferedRemedy]


class FailureAnalysis(TypedDict):
    """The content of failure_analysis.json; see the module."""

    applicable: bool
    reason: str | None
    documents: int | None
    right: int | None
    wrong: int | None
    modes: dict[str, ModeWithRemedies | None] | None
    interventions: Interventions | NoInterventions | None


def failure_analysis(
    reader: Reader,
    documents: Sequence[Document],
    labels: np.ndarray,
    ablation: Mapping[str, Any] | None = None,
    seed: int = 0,
    num_interventions: int = 100,
) -> FailureAnalysis:
    """Look for the failure modes in what a model does with labelled documents.

    Args:
        reader: The model.
        documents: N of them, from the reader.
        labels: (N,) class ids, or (N, C) zeros and ones.
        ablation: Content of a study.json that tells what the remedies bring; None without.
        seed: Of the halves, resamples and interventions.
        num_interventions: Documents to intervene in, see `salience.eval.failures.forced_filter`.

    Returns:
        The content of failure_analysis.json, see the module.

    Raises:
        UserError: There are no documents, the model isn't a classifier, or the ablation isn't a study.
    """
    if not documents:
        raise UserError("there are no texts to look for failures in: give a test file with rows")
    if len(reader.label_names) < 2:
        raise UserError("the model has a single output, and failures are looked for where there are classes")
    config = reader.model.config
    if not has_insides(reader.model):
        reason = f"{config.model_type} has neither a word filter nor attention pooling, so there is nothing to detect"
        return {
            "applicable": False,
            "reason": reason,
            "documents": None,
            "right": None,
            "wrong": None,
            "modes": None,
            "interventions": None,
        }
    insides = read_insides(reader, [document.ids for document in documents], progress="inside the model")
    logits = np.array([each.logits for each in insides])
    is_wrong = ~reader.predictions(labels, logits).is_right()
    modes: dict[str, ModeWithRemedies | None] = dict.fromkeys(FAILURE_MODES)
    for name, mode in FAILURE_MODES.items():
        if mode.can_occur(insides):
            offered = [each.as_json(config, ablation) for each in mode.remedies if each.is_offered(config)]
            modes[name] = {**analyse_mode(mode, insides, is_wrong, seed), "remedies": offered}
    filtered = has_filter(reader.model)
    return {
        "applicable": True,
        "reason": None,
        "documents": len(documents),
        "right": int((~is_wrong).sum()),
        "wrong": int(is_wrong.sum()),
        "modes": modes,
        "interventions": interventions(reader, documents, labels, num_interventions, seed) if filtered else None,
    }


def analyse_mode(mode: FailureMode, insides: Sequence[Insides], is_wrong: np.ndarray, seed: int) -> Mode:
    """How often a failure occurs among right and wrong predictions.

    Args:
        mode: The failure.
        insides: Of N documents.
        is_wrong: bool (N,), whose prediction is wrong.
        seed: Of the halves and resamples.

    Returns:
        What the module says of a mode, without its remedies.
    """
    scores = np.array([mode.score(each) for each in insides])
    relative = np.array([(mode.relative_score or mode.score)(each) for each in insides])
    scored, compared = ~np.isnan(scores), ~np.isnan(relative)
    flagged = mode.seed.outside(scores[scored])
    found = occurrence(flagged, is_wrong[scored])
    by_seed: SeenBySeed = {**mode.seed.as_json(), **found, "discriminates": _discriminates(found)}
    chosen = calibrate(relative[compared], is_wrong[compared], mode.tails, np.random.default_rng(seed))
    calibrated: SeenByCalibration | None = None
    if chosen:
        calibrated = {**chosen, "discriminates": _discriminates(chosen) and chosen["youden_j"] > 0}
    use: str | None = None
    band, judged, seen = mode.seed, scores, found
    if by_seed["discriminates"] and not mode.needs_calibration:
        use = "seed"
    elif calibrated and calibrated["discriminates"]:
        use, band, judged, seen = "calibrated", Band.from_json(calibrated), relative, calibrated
    return {
        "number": mode.number,
        "title": mode.title,
        "score": mode.score_name,
        "relative_score": mode.relative_score_name or mode.score_name,
        "seed": by_seed,
        "calibrated": calibrated,
        "use": use,
        "goes_with_errors": _goes_with_errors(seen) if use else None,
        "scores": _by_outcome(scores, is_wrong),
        "relative_scores": _by_outcome(relative, is_wrong),
        "examples": _examples(band, judged, is_wrong, mode.tails) if use else [],
    }


def _discriminates(found: Occurrence) -> bool:
    return found["share"] is not None and SMALLEST_SHARE <= found["share"] <= 1 - SMALLEST_SHARE


def _goes_with_errors(found: Occurrence) -> bool:
    wrong, right = found["wrong"]["share"], found["right"]["share"]
    return wrong is not None and right is not None and wrong > right and found["p_value"] < LARGEST_P_VALUE


def _examples(band: Band, scores: np.ndarray, is_wrong: np.ndarray, tails: str) -> list[int]:
    rows = np.flatnonzero(is_wrong & band.outside(scores))
    farthest = np.argsort(-band.badness(scores[rows], tails), kind="stable")
    return rows[farthest[:NUM_EXAMPLES]].tolist()


def _by_outcome(scores: np.ndarray, is_wrong: np.ndarray) -> ByOutcome:
    return {"right": _summary(scores[~is_wrong]), "wrong": _summary(scores[is_wrong])}


def _summary(scores: np.ndarray) -> Distribution | None:
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    p5, p50, p95 = (float(np.percentile(scores, point)) for point in (5, 50, 95))
    return {"mean": float(scores.mean()), "sd": float(scores.std()), "p5": p5, "p50": p50, "p95": p95}
