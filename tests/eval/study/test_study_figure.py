"""A study's figure: which rows become curves, and that what is drawn are the study's numbers."""

import numpy as np
import pytest

from salience.eval.study.figure import draw_study, find_curves


def row(mean, sd=0.01, **further):
    return {
        "kind": "model",
        "seeds": {"0": {}},
        "mean": {"accuracy": mean, **further},
        "sd": {"accuracy": sd, **dict.fromkeys(further)},
    }


def study(rows, scores=()):
    return {"name": "A $study$", "reference": next(iter(rows)), "scores": list(scores), "rows": rows}


@pytest.mark.parametrize(
    ("names", "curves"),
    [
        (["a", "focal_2", "focal_6", "plain_2", "plain_6", "b_6"], ["focal", "plain", "b"]),
        (["report", "hidden_128", "hidden_512", "rate_0.1", "rate_0.5"], []),  # no number in common
        (["filter_30", "filter_70"], []),
        (["lstm", "cnn"], []),
        (["a_1", "a_01", "a_2", "b_1", "b_2"], []),  # one would hide the other
    ],
)
def test_names_with_numbers_in_common_are_curves(names, curves):
    assert list(find_curves(names)) == curves


def test_curves_have_the_means_and_deviations_in_order():
    rows = {"control": row(0.9), "a_6": row(0.5, 0.02), "a_2": row(0.7), "b_2": row(0.8, None), "b_6": row(0.6)}
    rows["unfinished_2"] = row(0.1) | {"seeds": {}}
    axes = draw_study(study(rows)).axes[0]
    drawn = {each.get_label(): each for each in axes.containers}
    assert list(drawn) == ["a", "b"]
    np.testing.assert_allclose(drawn["a"].lines[0].get_xydata(), [[2, 70], [6, 50]])
    lengths = [np.ptp(segment[:, 1]) for segment in drawn["a"].lines[2][0].get_segments()]
    np.testing.assert_allclose(lengths, [2, 4])
    across = [line for line in axes.lines if line.get_label() == "control"]
    np.testing.assert_allclose(across[0].get_ydata(), 90)


def test_lines_across_look_different():
    rows = {name: row(0.9 - place / 100) for place, name in enumerate(["a_2", "a_6", "b_2", "b_6", *"cdefgh"])}
    lines = [line for line in draw_study(study(rows)).axes[0].lines if line.get_label() in "cdefgh"]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 6


def test_points_of_other_rows_and_a_panel_for_each_score_that_there_is():
    rows = {"full": row(0.9, ece=0.02, accuracy_long=None), "lstm": row(0.4, ece=None, accuracy_long=None)}
    figure = draw_study(study(rows, ["ece", "accuracy_long"]))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == ["test accuracy, %", "test ece, %"]
    places = [[float(value) for value in each.lines[0].get_xydata()[0]] for each in panels[0].containers]
    np.testing.assert_allclose(places, [[90, 0], [40, 1]])
    assert len(panels[1].containers) == 1
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["full", "lstm"]
    assert figure.get_suptitle() == r"A \$study\$"
