"""What was fitted for a model's classes goes with them, and doesn't act where the model is trained on."""

import datasets
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSequenceClassification, Trainer, TrainingArguments

from salience.configuration.configuration_salience import FITTED
from salience.eval import load_classifier
from salience.modeling import BaselineConfig
from tests.helpers.counting import give_evidence
from tests.helpers.tiny import LABELS, random_batch, tiny_model

CORRECTION = [1.0, -2.0, 0.5]
OTHER_NAMES = {0: "economy", 1: "science", 2: "weather"}
SHUFFLED = {0: "science", 1: "economy", 2: "sports"}
FEWER = {0: "economy", 1: "science"}
# How the classes of a loaded model become others.
CHANGES = {
    "more classes": {"num_labels": 5, "ignore_mismatched_sizes": True},
    "more classes, corrected by nothing": {
        "num_labels": 5, "ignore_mismatched_sizes": True, "prior_correction": None, "logit_temperature": 1.0,
    },
    "one number": {"num_labels": 1, "problem_type": "regression", "ignore_mismatched_sizes": True},
    "fewer names": {"id2label": FEWER, "ignore_mismatched_sizes": True},
    "fewer names, both ways": {
        "id2label": FEWER, "label2id": {"economy": 0, "science": 1}, "num_labels": 2, "ignore_mismatched_sizes": True,
    },
    "keys of json": {"id2label": {"0": "economy", "1": "science"}, "ignore_mismatched_sizes": True},
    "other names": {"id2label": OTHER_NAMES},
    "another order": {"id2label": SHUFFLED},
}  # fmt: skip
SAME = {
    "nothing set": {},
    "the same number": {"num_labels": 3},
    "the same names": {"id2label": LABELS["id2label"]},
    "the same names, keys of json": {"id2label": {str(index): name for index, name in LABELS["id2label"].items()}},
    "no problem type": {"problem_type": None},
    "the same problem type": {"problem_type": "single_label_classification"},
}


def fitted(name):
    """A model with all that is fitted for its classes."""
    model = tiny_model(name).eval()
    model.config.logit_temperature, model.config.prior_correction = 0.25, CORRECTION
    if name in ("attn_pool", "hierarchical"):
        give_evidence(model, 1.0)
    return model


def fields(config):
    return {name: getattr(config, name) for name in FITTED}


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "hierarchical_encoder", "lstm", "cnn", "gat"])
@pytest.mark.parametrize("change", CHANGES)
def test_other_classes_drop_what_was_fitted(name, change, tmp_path, caplog):
    fitted(name).save_pretrained(tmp_path)
    caplog.clear()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, **CHANGES[change]).eval()
    assert fields(model.config) == FITTED
    assert len([each for each in caplog.messages if "what was fitted before that is dropped" in each]) == 1
    num_labels = model.config.num_labels
    outputs = model(**random_batch([5, 30]), labels=torch.zeros(2, dtype=torch.long if num_labels > 1 else None))
    assert outputs.logits.shape == (2, num_labels) and outputs.loss.isfinite()
    assert_close(outputs.logits, model.classifier(outputs.pooler_output))
    model.save_pretrained(tmp_path / "again")
    assert fields(AutoConfig.from_pretrained(tmp_path / "again")) == FITTED


@pytest.mark.parametrize("name", ["attn_pool", "lstm"])
@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_another_problem_type_drops_what_was_fitted(name, problem_type, tmp_path, caplog):
    """Softmax of one class or sigmoid of each: logits of the one aren't divided by the temperature of the other."""
    fitted(name).save_pretrained(tmp_path)
    caplog.clear()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, problem_type=problem_type).eval()
    assert fields(model.config) == FITTED
    assert len([each for each in caplog.messages if "problem type has changed: what was fitted" in each]) == 1
    outputs = model(**random_batch([5, 30]))
    assert_close(outputs.logits, model.classifier(outputs.pooler_output))


@pytest.mark.parametrize("change", SAME)
def test_the_same_classes_keep_it(change, tmp_path, caplog):
    model = fitted("attn_pool")
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, **SAME[change]).eval()
    assert fields(again.config) == fields(model.config) and "dropped" not in caplog.text
    assert_close(again(**random_batch([5, 30])).logits, model(**random_batch([5, 30])).logits)


def test_what_is_fitted_for_the_new_classes_is_kept(tmp_path):
    fitted("lstm").save_pretrained(tmp_path)
    new = {"prior_correction": [1.0] * 5, "logit_temperature": 3.0, "num_labels": 5, "ignore_mismatched_sizes": True}
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path, **new).config
    assert (config.prior_correction, config.logit_temperature) == ([1.0] * 5, 3.0)
    with pytest.raises(ValueError, match="prior_correction needs one number for each of the 5 labels"):
        AutoConfig.from_pretrained(tmp_path, **new | {"prior_correction": CORRECTION})


@pytest.mark.parametrize("how", ["num_labels", "id2label"])
def test_classes_that_change_in_a_configuration_drop_it_too(how, tmp_path, caplog):
    fitted("lstm").save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    setattr(config, how, 5 if how == "num_labels" else OTHER_NAMES)
    assert fields(config) == FITTED and "the model's classes have changed" in caplog.text


@pytest.mark.parametrize("how", ["from_pretrained", "set"])
def test_another_problem_type_drops_it_too(how, tmp_path, caplog):
    fitted("lstm").save_pretrained(tmp_path)
    other = {"problem_type": "multi_label_classification"}
    config = AutoConfig.from_pretrained(tmp_path, **(other if how == "from_pretrained" else {}))
    if how == "set":
        config.problem_type = other["problem_type"]
    assert fields(config) == FITTED and "the model's problem type has changed" in caplog.text


def test_a_folder_without_names_has_those_of_transformers(tmp_path):
    fields_of_json = fitted("lstm").config.to_dict() | {"prior_correction": [1.0, 2.0]}
    del fields_of_json["id2label"], fields_of_json["label2id"]  # as transformers saves its default
    config = BaselineConfig.from_dict(dict(fields_of_json))
    assert (config.num_labels, config.prior_correction) == (2, [1.0, 2.0])
    config = BaselineConfig.from_dict(dict(fields_of_json), num_labels=5)
    assert (config.num_labels, config.prior_correction) == (5, None)


def rows():
    batch = random_batch([8] * 8)["input_ids"]
    return datasets.Dataset.from_dict({"input_ids": batch.tolist(), "labels": [0, 1, 2, 0, 1, 2, 0, 1]})


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "hierarchical_encoder", "lstm", "gat"])
def test_further_training_has_the_loss_of_what_is_trained(name, tmp_path, caplog):
    """Trained on from a fitted model and from the same weights without: the same losses, answers and weights."""
    histories, answers = [], []
    fitted(name).save_pretrained(tmp_path / "run")
    for is_fitted in (True, False):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
        if not is_fitted:
            model.config.logit_temperature, model.config.prior_correction = 1.0, None
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "trainer"), max_steps=4, logging_steps=1, eval_strategy="steps", eval_steps=2,
            learning_rate=0.01, per_device_train_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True,
            save_strategy="no", seed=3,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=rows(), eval_dataset=rows())
        trainer.train()
        histories.append([each.get("loss", each.get("eval_loss")) for each in trainer.state.log_history[:-1]])
        trainer.save_model(str(tmp_path / "further"))
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "further").eval()
        answers.append(again(**random_batch([5, 30])).logits)
    assert histories[0] == histories[1] and len(histories[0]) == 6
    assert torch.equal(*answers)
    assert caplog.text.count("the model is trained on: what was fitted before that is dropped") == 1


def test_reading_in_training_mode_without_gradients_drops_nothing():
    model, batch = fitted("attn_pool"), random_batch([5, 30])
    with torch.no_grad():
        model.train()(**batch)
    assert fields(model.config)["logit_temperature"] == 0.25
    model.eval()(**batch).logits.sum().backward()  # a gradient to look at, as attributions take it
    assert fields(model.config)["prior_correction"] == CORRECTION


def test_evidence_of_classes_with_other_names_is_not_saved(tmp_path, tokenizer):
    model = fitted("attn_pool")
    model.config.id2label = {0: "a", 1: "b", 2: "c"}
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load_classifier(str(tmp_path))
    assert loaded.ngrams is None and loaded.config.id2label[1] == "b"
