"""The curves of a run, as its trainer_state.json tells them."""

import pytest

from salience.configuration.errors import UserError
from salience.eval.report.history import training_history
from salience.eval.runs import Run

GOOD = '{"epoch": 1, "loss": 0.5}'


def history(folder, text):
    (folder / "trainer_state.json").write_text(text)
    return training_history(Run(folder, {}))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", "log_history is no list"),
        ('{"log_history": 5}', "log_history is no list"),
        ('{"log_history": {"loss": 1}}', "log_history is no list"),
        ('{"log_history": null}', "log_history is no list"),
        (f'{{"log_history": [{GOOD}, 5]}}', "log_history[1] is '5', and must be an object"),
        (f'{{"log_history": [{GOOD}, {{"loss": 1}}]}}', "log_history[1].epoch is missing"),
        ('{"log_history": [{"epoch": "1"}]}', "log_history[0].epoch is '1', and must be a finite number"),
        ('{"log_history": [{"epoch": 1, "loss": NaN}]}', "log_history[0].loss is 'nan', and must be a finite number"),
        ('{"log_history": [{"epoch": 1, "eval_loss": 1e400}]}', "log_history[0].eval_loss is 'inf'"),
        ('{"log_history": [{"epoch": 1, "eval_accuracy": []}]}', "log_history[0].eval_accuracy is '[]'"),
        ('{"log_history": [{"epoch": 1, "eval_f1_macro": null}]}', "log_history[0].eval_f1_macro is 'None'"),
    ],
)
def test_curves_that_were_edited_by_hand_are_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError) as refused:
        history(tmp_path, text)
    assert str(refused.value).startswith(f"{tmp_path / 'trainer_state.json'}: {sentence}")
    assert str(refused.value).endswith("restore the file, or make this run again")


def test_infinite_gradient_norms_of_half_precision_are_left_out(tmp_path):
    text = '{"log_history": [{"epoch": 1, "loss": 0.5, "grad_norm": NaN}, {"epoch": 2, "grad_norm": Infinity}]}'
    assert history(tmp_path, text) == [{"epoch": 1, "loss": 0.5}, {"epoch": 2}]
