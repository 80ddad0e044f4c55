"""An explanation in words and colours, for a terminal and the page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salience.configuration.errors import one_line
from salience.model_cards.markdown import against_random

NUM_WORDS, NUM_SENTENCES = 12, 5
_FOR, _AGAINST = (195, 153, 117, 75, 33), (230, 223, 216, 215, 208)
"""Backgrounds of a terminal's 256 colours, from light to strong."""


def about_method(answer: Mapping[str, Any]) -> str:
    """By which method an answer is explained, and how faithful it was measured to be."""
    found = answer.get("faithfulness")
    if not found:
        return f"{answer['method']}; nobody has measured how faithful it is for this model"
    return (
        f"{answer['method']}; without the words that it finds important the answer's probability falls by "
        f"{100 * found['comprehensiveness']:.1f} points, without random words by {100 * found['random']:.1f} "
        f"(measured on {found['texts']} validation texts){_normalized(found.get('naopc'))}"
    )


def about_score(answer: Mapping[str, Any]) -> str:
    """How sure an answer is, and whether it is one, where a text can have several labels."""
    none = "" if answer.get("is_given", True) else ", below its threshold: not given"
    return f"({answer['score']:.3f}{none})"


def _normalized(naopc: Mapping[str, Any] | None) -> str:
    if naopc is None:
        return ""
    place = against_random(naopc["method"], naopc["random"], naopc["p_value"])
    others = "other validation texts" if naopc["p_value"] is not None else "of these texts"
    return f"; NAOPC {naopc['method']:.2f}, {place}, on {naopc['texts']} {others}"


def heaviest(items: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The words or sentences of highest weight, on either side of 0, the highest first."""
    return sorted(items, key=lambda each: -abs(each["weight"]))[:count]


def counted(words: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Words with what they add by counts alone as their weights; none of a model that counts none."""
    return [{**each, "weight": each["counts"]} for each in words if each.get("counts")]


def about_logit(answer: Mapping[str, Any]) -> str:
    """What the logit of an answer of a model that counts n-grams is the sum of."""
    parts = answer["logit"]
    return (
        f"{parts['value']:+.3f}: {parts['network']:+.3f} by the network, {parts['counts']:+.3f} by counts of words and "
        f"word pairs, {parts['bias']:+.3f} by what no word adds"
    )


def told(answer: Mapping[str, Any]) -> str:
    """The heaviest words and sentences of an answer, in lines of text."""
    lines = [f"for        {one_line(answer['target'])}", f"words      {_listed(answer['words'])}"]
    if "logit" in answer:
        lines += [f"logit      {about_logit(answer)}", f"counts     {_listed(counted(answer['words']))}"]
    for each in heaviest(answer["sentences"], NUM_SENTENCES):
        lines.append(f"sentence   {each['weight']:+.3f} {one_line(each['sentence'], 100)}")
    if "dropped" in answer:
        lines.append(f"dropped    {len(answer['dropped'])} of {len(answer['words'])} words have no part in the answer")
    return "\n".join(lines)


def _listed(words: Sequence[Mapping[str, Any]]) -> str:
    found = [f"{one_line(each['word'], 40)} {each['weight']:+.3f}" for each in heaviest(words, NUM_WORDS)]
    return " · ".join(found) or "none"


def coloured(spans: Sequence[tuple[str, float | None]], harmless: Callable[[str], str]) -> str:
    """A text for a terminal: what speaks for a class on blue, what speaks against it on orange.

    Args:
        spans: Of an answer; weights lie between -1 and 1.
        harmless: Takes out of the text what would steer a terminal.
    """
    parts = []
    for text, weight in spans:
        shade = round(len(_FOR) * abs(weight or 0))
        if shade:
            colour = (_FOR if (weight or 0) > 0 else _AGAINST)[shade - 1]
            parts.append(f"\x1b[38;5;16;48;5;{colour}m{harmless(text)}\x1b[0m")
        else:
            parts.append(harmless(text))
    return "".join(parts)
