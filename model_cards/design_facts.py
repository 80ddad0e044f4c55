"""What a model card says of how the model answers, and of how that is explained."""

import math
from typing import Any, TypeGuard

from salience.configuration.families import FAMILIES
from salience.model_cards.markdown import against_random, escape
from salience.model_cards.run_folder import RunFolder


def is_number(value: Any) -> TypeGuard[float]:
    """Whether the value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def design(files: RunFolder) -> str:
    """What the model is made of, a sentence."""
    model, data = files.run.get("model", {}), files.run.get("data", {})
    family = FAMILIES.get(model.get("family", ""))
    parts = [family.sentence if family else "It is a text classifier"]
    if model.get("encoder") and (family is None or family.encoder != "refused"):
        parts.append(f"the encoder is {escape(model['encoder'])}")
    if vectors := files.run.get("arguments", {}).get("word_vectors"):
        parts.append(f"its word embeddings started from {escape(vectors)}")
    if start := model.get("start"):
        parts.append(f"its training went on from {escape(start['name'])}")
        if start.get("split_otherwise"):
            parts.append("**that model may have been trained on texts that were held out here**")
    if is_number(weight := files.config.get("ngram_weight")) and weight > 0:
        parts.append(_ngrams(model.get("ngrams", {}), weight, files.config.get("ngram_damping")))
        if is_number(alone := files.test.get("network_accuracy")):
            parts.append(f"the network alone has {100 * alone:.2f} % test accuracy")
    if thresholds := files.config.get("label_thresholds"):
        parts.append(_label_thresholds(thresholds, files.run.get("arguments", {}).get("target_precision")))
    if is_number(threshold := files.config.get("review_threshold")):
        below = f"answers with a confidence below {threshold:.3f}"
        parts.append(f"{below if threshold < 1 else 'all answers'} are for a person to look at")
    if data.get("name"):
        rows = data.get("splits", {}).get("train", {}).get("rows")
        parts.append(f"it was trained on {escape(data['name'])}" + (f" ({rows:,} texts)" if is_number(rows) else ""))
    return "; ".join(parts) + "."


def explanation(measured: Any) -> str | None:
    """How faithful each method of explanation was measured to be; None where nobody has."""
    figures = measured.get("comprehensiveness") if isinstance(measured, dict) else None
    if not isinstance(figures, dict):
        return None
    falls = figures | {"random words": measured.get("random")}
    listed = [f"{escape(name)} {100 * fall:.1f}" for name, fall in falls.items() if is_number(fall)]
    naopc = measured.get("naopc")
    normalized = _normalized(naopc, measured.get("method")) if isinstance(naopc, dict) else ""
    return (
        f"Measured on {measured.get('texts')} validation texts: points of probability that the answer loses, on "
        f"average, without the words that a method finds most important: {', '.join(listed)}.{normalized} Unless "
        f"`method=` says otherwise, `explain=True` goes by {escape(measured.get('method'))}."
    )


def _normalized(naopc: dict[str, Any], method: Any) -> str:
    listed = [f"{escape(name)} {value:.2f}" for name, value in naopc.get("methods", {}).items() if is_number(value)]
    own, random = naopc.get("methods", {}).get(method), naopc.get("random")
    if not (is_number(own) and is_number(random)):
        return ""
    p_value = naopc.get("p_values", {}).get(method)
    place = against_random(own, random, p_value if is_number(p_value) else None)
    others = "other texts" if is_number(p_value) else "of these texts"
    return (
        f" On the model's own scale, where the worst order of words has 0 and the best 1 (NAOPC, {naopc.get('texts')} "
        f"{others}): {', '.join(listed)}; {escape(method)} is {place}."
    )


def _label_thresholds(thresholds: list[float], target_precision: Any) -> str:
    chosen = f"a precision of {target_precision:g}" if is_number(target_precision) else "the best F1"
    span = f"{min(thresholds):.3f} to {max(thresholds):.3f}"
    return f"each label is given from a probability of its own on ({span}), chosen for {chosen} on the validation texts"


def _ngrams(record: dict[str, Any], weight: float, damping: Any) -> str:
    kind = escape(record.get("kind", "naive Bayes"))  # without a record, the run is of a version that knew no other
    weighed = f"weight {weight:.3g}" + (f", damping {damping:.2g}" if is_number(damping) and damping > 0 else "")
    sentence = f"its logits are added to those of classifiers on the training texts' n-grams ({kind}, {weighed})"
    if not is_number(share := record.get("share")):
        return sentence
    return f"{sentence}, which make up {100 * share:.0f} % of the spread of logits over the classes (validation texts)"
