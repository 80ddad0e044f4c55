import numpy as np
import pytest
import torch

from salience.configuration.errors import UserError
from salience.eval.explain.attributions import ATTRIBUTIONS, checked_probabilities
from salience.eval.reading.reader import Reader
from tests.helpers.bags import SCALE, bag_reader
from tests.helpers.tiny import tiny_model

TEXTS = ["market rates rose and shares of the bank", "a goal . the cup !", "", "cat"]
integrated_gradients, leave_one_out = ATTRIBUTIONS["integrated_gradients"], ATTRIBUTIONS["leave_one_out"]


def read(reader, texts):
    documents = reader.documents(texts)
    return documents, reader.read([document.ids for document in documents])


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "lstm"])
def test_a_reader_has_every_attribution_that_its_model_can_have(name, tokenizer):
    reader = Reader(tiny_model(name), tokenizer, batch_size=8)
    documents, readings = read(reader, TEXTS)
    for method, attribution in ATTRIBUTIONS.items():
        if method == "attention" and readings[0].weights is None:
            with pytest.raises(UserError, match="no pooling_weights"):
                attribution(reader, documents, readings)
            continue
        found = attribution(reader, documents, readings)
        assert [each.shape for each in found] == [(document.num_words,) for document in documents]
        assert all(np.isfinite(each).all() for each in found)
        (again,) = attribution(reader, documents[:1], readings[:1])
        np.testing.assert_allclose(found[0], again, atol=1e-6)


def test_integrated_gradients_of_a_linear_model_are_its_parts(tokenizer):
    strengths = {"market": 1.0, "bank": 0.5, "cat": -0.25}
    reader = bag_reader(tokenizer, strengths, {})
    documents, readings = read(reader, ["market of bank cat"])
    (found,) = integrated_gradients(reader, documents, readings)
    np.testing.assert_allclose(found, SCALE / 6 * np.array([1, 0, 0.5, -0.25]), atol=1e-3)


def test_leave_one_out_is_the_fall_in_probability(tokenizer):
    reader = Reader(tiny_model("hierarchical"), tokenizer)
    text = "market rates rose . a goal"
    documents, readings = read(reader, [text])
    (found,) = leave_one_out(reader, documents, readings)
    words = text.split()

    def probability(text):
        with torch.no_grad():
            logits = reader.model(**tokenizer(text, return_tensors="pt")).logits
        return logits.softmax(-1)[0, readings[0].logits.argmax()].item()

    for place, fall in enumerate(found):
        without = probability(" ".join(words[:place] + words[place + 1 :]))
        assert fall == pytest.approx(probability(text) - without, abs=1e-5)


def test_probabilities_are_those_of_the_problem(tokenizer):
    reader = Reader(tiny_model("attn_pool"), tokenizer)
    logits = np.array([[0.0, 1.0, -2.0]])
    np.testing.assert_allclose(checked_probabilities(reader, logits).sum(1), 1)
    reader.model.config.problem_type = "multi_label_classification"
    np.testing.assert_allclose(checked_probabilities(reader, logits)[0, 0], 0.5)
    reader.model.config.problem_type = "regression"
    with pytest.raises(UserError, match="numbers, not classes"):
        checked_probabilities(reader, logits)
