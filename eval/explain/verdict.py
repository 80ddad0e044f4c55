"""In words: may the attention of this model be read as an explanation of what it answers?"""

from salience.eval.explain.faithfulness import Faithfulness, Tested
from salience.eval.scores.paired import Difference
from salience.model_cards.markdown import SIGNIFICANT

MIN_SHARE_OF_GRADIENTS = 0.5
"""Attention must find at least half of what integrated gradients find; less, and the better explanation is at hand."""
MIN_PERMUTATION_EFFECT = 0.05
"""Shuffling the weights must move 5 points of probability on average; less, and others would have served as well."""


MIN_DOCUMENTS = 20
"""A bootstrap over fewer texts says little."""


def objections(result: Faithfulness) -> list[str]:
    """What speaks against reading attention as an explanation, each a clause; none if nothing does.

    Removing the words of most attention must lower the predicted class's probability by significantly more than
    removing random ones, keeping only them must lower it by significantly less, by comprehensiveness attention must
    come up to `MIN_SHARE_OF_GRADIENTS` of integrated gradients, and shuffling the weights must change the
    probabilities by `MIN_PERMUTATION_EFFECT`. A test that wasn't made is an objection too, and so are too few texts.

    Args:
        result: What `faithfulness` returned.
    """
    found = result["attributions"].get("attention")
    if found is None:
        return [result["left_out"].get("attention", "attention was not tested")]
    if result["num_documents"] < MIN_DOCUMENTS:
        return [f"which are too few, since {MIN_DOCUMENTS} are needed to tell it from chance"]
    return [*_against_random(found), *_against_gradients(result), *_against_shuffling(result)]


def _against_random(found: Tested) -> list[str]:
    against = found["against"].get("random")
    if against is None:
        return ["attention was not compared with random words"]
    reasons = []
    removed, kept = against["comprehensiveness"], against["sufficiency"]
    if removed["difference"] <= 0 or removed["p_value"] >= SIGNIFICANT:
        reasons.append(
            "removing its heaviest words lowers the predicted class's probability no more than removing random words "
            f"({_points(removed)})"
        )
    if kept["difference"] >= 0 or kept["p_value"] >= SIGNIFICANT:
        reasons.append(f"its heaviest words alone keep the answer no better than random words ({_points(kept)})")
    return reasons


def _against_gradients(result: Faithfulness) -> list[str]:
    gradients = result["attributions"].get("integrated_gradients")
    if gradients is None:
        return ["attention could not be compared with integrated gradients"]
    ours = result["attributions"]["attention"]["comprehensiveness"]["mean"]
    theirs = gradients["comprehensiveness"]["mean"]
    if ours >= MIN_SHARE_OF_GRADIENTS * theirs:
        return []
    return [
        f"integrated gradients find words whose removal costs {100 * theirs:.1f} points of probability, and attention "
        f"finds words that cost {100 * ours:.1f}"
    ]


def _against_shuffling(result: Faithfulness) -> list[str]:
    if result["interventions"] is None:
        return ["its weights could not be shuffled"]
    moved = result["interventions"]["permutation"]["total_variation"]["mean"]
    if moved >= MIN_PERMUTATION_EFFECT:
        return []
    return [f"shuffling the weights among a text's words moves its probabilities by only {100 * moved:.1f} points"]


def _points(difference: Difference) -> str:
    return f"{100 * difference['difference']:+.1f} points, p = {difference['p_value']:.2g}"


def verdict(result: Faithfulness) -> str:
    """Up to two sentences: whether the attention of this model may be read as an explanation, and why.

    Args:
        result: What `faithfulness` returned.
    """
    size = f"on {result['num_documents']} texts"
    reasons = objections(result)
    if reasons:
        because = "; ".join(reasons)
        sentence = (
            f"No: the attention of this model may not be read as an explanation of its answers; {size}, {because}."
        )
    else:
        found = result["attributions"]["attention"]["comprehensiveness"]
        theirs = result["attributions"]["random"]["comprehensiveness"]
        sentence = (
            f"Yes: the attention of this model may be read as an explanation of its answers; {size}, removing its "
            f"heaviest words costs {100 * found['mean']:.1f} points of probability, and random words "
            f"{100 * theirs['mean']:.1f}."
        )
    if result["ngram_weight"]:
        sentence += (
            f" The model also counts words and word pairs (ngram_weight {result['ngram_weight']:g}), which attention "
            "doesn't see: at best it explains the network's part of an answer."
        )
    return sentence
