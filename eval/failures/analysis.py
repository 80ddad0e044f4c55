"""Where a model fails as the report's section 6 says, whether that goes with errors, and what helps.

`failure_analysis` gives the content of failure_analysis.json:

    applicable: whether the model has weights to look at; with false, `reason` says why not and the rest is null
    documents, right, wrong: how many, and how many of the predictions are right and wrong
    modes: {name of `FAILURE_MODES`: null where the model has no such part, or {
        number, title, score, relative_score: what is measured, in words
        seed: {low, high (the report's limits of the score; null for none), documents (with a score), share (flagged),
            right, wrong: {documents, flagged, share}, odds_ratio (of being wrong; null where a count is 0), p_value
            (Fisher's exact test), discriminates (whether 1 % to 99 % are flagged)}
        calibrated: null with too few right or wrong predictions, or limits that were chosen for the relative score on
            one half of the documents: {low, high, chosen_on (documents), and seen on the other half: documents, share,
            right, wrong, odds_ratio, p_value, youden_j, auc: {auc, low, high} of the relative score for "the prediction
            is wrong", discriminates (as above, and youden_j above 0)}
        use: "seed" or "calibrated", the limits to look at: the report's unless they don't discriminate or (mode 5) mean
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
from typing import Any

import numpy as np

from salience.configuration.errors import UserError
from salience.eval.failures.forced_filter import interventions
from salience.eval.failures.internals import Insides, has_filter, has_insides, read_insides
from salience.eval.failures.modes import FAILURE_MODES, FailureMode
from salience.eval.failures.rates import Band, calibrate, occurrence
from salience.eval.reading.reader import Document, Reader
from salience.eval.scores.predictions import Predictions

# Limits that flag a smaller share of documents, or spare a smaller one, tell nothing of the others.
SMALLEST_SHARE = 0.01
NUM_EXAMPLES = 5
# One in twenty, divided by the number of failure modes that are looked for (Bonferroni).
LARGEST_P_VALUE = 0.05 / len(FAILURE_MODES)


def failure_analysis(
    reader: Reader,
    documents: Sequence[Document],
    labels: np.ndarray,
    ablation: Mapping[str, Any] | None = None,
    seed: int = 0,
    num_interventions: int = 100,
) -> dict[str, Any]:
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
        raise UserError("the model has a single output, and failures are looked for in classifiers only")
    config = reader.model.config
    if not has_insides(reader.model):
        reason = f"{config.model_type} has neither a word filter nor attention pooling, so there is nothing to detect"
        unknown = dict.fromkeys(("documents", "right", "wrong", "modes", "interventions"))
        return {"applicable": False, "reason": reason, **unknown}
    insides = read_insides(reader, [document.ids for document in documents], progress="inside the model")
    is_wrong = ~Predictions(np.asarray(labels), np.array([each.logits for each in insides])).is_right()
    modes: dict[str, Any] = {}
    for name, mode in FAILURE_MODES.items():
        modes[name] = analyse_mode(mode, insides, is_wrong, seed) if mode.can_occur(insides) else None
        if modes[name]:
            offered = [each for each in mode.remedies if each.is_offered(config)]
            modes[name]["remedies"] = [remedy.as_json(config, ablation) for remedy in offered]
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


def analyse_mode(mode: FailureMode, insides: Sequence[Insides], is_wrong: np.ndarray, seed: int) -> dict[str, Any]:
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
    found["discriminates"] = _discriminates(found)
    calibrated = calibrate(relative[compared], is_wrong[compared], mode.tails, np.random.default_rng(seed))
    if calibrated:
        calibrated["discriminates"] = _discriminates(calibrated) and calibrated["youden_j"] > 0
    use: str | None = "seed" if found["discriminates"] and not mode.needs_calibration else None
    band, judged, seen = mode.seed, scores, found
    if not use and calibrated and calibrated["discriminates"]:
        use, band, judged, seen = "calibrated", Band.from_json(calibrated), relative, calibrated
    return {
        "number": mode.number,
        "title": mode.title,
        "score": mode.score_name,
        "relative_score": mode.relative_score_name or mode.score_name,
        "seed": {**mode.seed.as_json(), **found},
        "calibrated": calibrated,
        "use": use,
        "goes_with_errors": _goes_with_errors(seen) if use else None,
        "scores": _by_outcome(scores, is_wrong),
        "relative_scores": _by_outcome(relative, is_wrong),
        "examples": _examples(band, judged, is_wrong, mode.tails) if use else [],
    }


def _discriminates(found: Mapping[str, Any]) -> bool:
    return found["share"] is not None and SMALLEST_SHARE <= found["share"] <= 1 - SMALLEST_SHARE


def _goes_with_errors(found: Mapping[str, Any]) -> bool:
    shares = [found[name]["share"] for name in ("wrong", "right")]
    return None not in shares and shares[0] > shares[1] and found["p_value"] < LARGEST_P_VALUE


def _examples(band: Band, scores: np.ndarray, is_wrong: np.ndarray, tails: str) -> list[int]:
    rows = np.flatnonzero(is_wrong & band.outside(scores))
    farthest = np.argsort(-band.badness(scores[rows], tails), kind="stable")
    return rows[farthest[:NUM_EXAMPLES]].tolist()


def _by_outcome(scores: np.ndarray, is_wrong: np.ndarray) -> dict[str, dict[str, float] | None]:
    return {name: _summary(scores[group]) for name, group in (("right", ~is_wrong), ("wrong", is_wrong))}


def _summary(scores: np.ndarray) -> dict[str, float] | None:
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    percentiles = {f"p{point}": float(np.percentile(scores, point)) for point in (5, 50, 95)}
    return {"mean": float(scores.mean()), "sd": float(scores.std()), **percentiles}
