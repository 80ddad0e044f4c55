"""What an ablation says of the remedies of failure modes."""

import json

import pytest

from salience.configuration.errors import UserError
from salience.eval.failures.remedies import measured_effect, own_ablation, read_ablation


def study(**rows):
    """An ablation in which each row changes accuracy by 0.01 more than the one before."""
    content = {"name": "Toy", "reference": "full", "rows": {}}
    for number, (name, flags) in enumerate(rows.items()):
        against = {"full": {"difference": number / 100, "low": 0.0, "high": 0.1, "p_value": 0.5, "mcnemar": {}}}
        mean = {"accuracy": 0.5 + number / 100}
        content["rows"][name] = {"kind": "model", "flags": flags, "mean": mean, "against": against if number else {}}
    return content


def test_an_ablation_says_what_a_remedy_brings():
    ablation = study(
        full={}, gated={"fusion": "gated"}, wide={"hidden_dim": 512}, both={"fusion": "gated", "hidden_dim": 512}
    )
    (alone,) = measured_effect("fusion", ablation)  # what two flags bring together is the effect of neither
    assert alone == {
        "study": "Toy", "row": "gated", "value": "gated", "reference_value": None, "reference": "full",
        "accuracy": 0.51, "reference_accuracy": 0.5, "difference": 0.01, "low": 0.0, "high": 0.1, "p_value": 0.5,
    }  # fmt: skip
    assert measured_effect("idf_prior", ablation) is None
    assert measured_effect("fusion", study(full={}, two={"fusion": "gated", "max_words": None})) is None
    (removed,) = measured_effect("idf_prior", study(full={"idf_prior": True}, without={}))
    assert (removed["value"], removed["reference_value"]) == (None, True)
    assert measured_effect("fusion", {**ablation, "reference": None}) is None


def test_what_is_no_study_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="not a study.json"):
        measured_effect("fusion", {"rows": 3})
    file = tmp_path / "study.json"
    with pytest.raises(UserError, match="can't be read"):
        read_ablation(file)
    for content, message in (("{", "not valid JSON"), ("[]", "holds no JSON object"), ("{}", "holds no study")):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            read_ablation(file)
    file.write_text(json.dumps(study(full={})))
    assert read_ablation(file) == study(full={})


@pytest.mark.parametrize(
    ("model_type", "flag"), [("salience_attn_pool", "alpha"), ("salience_hierarchical_attn", "fusion")]
)
def test_our_own_ablations_come_with_the_package(model_type, flag):
    effects = measured_effect(flag, read_ablation(own_ablation(model_type)))
    assert all(-1 < each["difference"] < 1 and each["study"] for each in effects)
