import pytest

from salience.eval.reading.example import read_example
from salience.eval.reading.reader import Reader
from salience.eval.reading.words import heaviest_words
from tests.helpers.tiny import LABELS, tiny_model


def test_a_word_weighs_what_its_heaviest_place_weighs():
    words = ["The", "goal", ".", "the", "bank", ",", "the", "goal"]
    found = heaviest_words(words, [0.1, 0.2, 0.9, 0.1, 0.15, 0.9, 0.1, 0.25])
    assert found == [("goal", 0.25), ("bank", 0.15), ("the", 0.1)], "punctuation is no word"


def test_an_example_has_its_answer_and_words(tokenizer):
    example = read_example(Reader(tiny_model("attn_pool"), tokenizer), "the bank raised its rates")
    ((label, score),) = example.labels.items()
    assert label in LABELS["label2id"] and 1 / 3 <= score <= 1
    assert len(example.words) == 5 and sum(example.words.values()) <= 1
    assert read_example(Reader(tiny_model("lstm"), tokenizer), "the bank").words == {}


@pytest.mark.parametrize(("thresholds", "given"), [([0.99] * 3, 0), ([0.0] * 3, 3)])
def test_an_example_of_several_labels_has_those_that_reach_their_thresholds(tokenizer, thresholds, given):
    model = tiny_model("attn_pool")
    model.config.problem_type, model.config.label_thresholds = "multi_label_classification", thresholds
    assert len(read_example(Reader(model, tokenizer), "the bank raised its rates").labels) == given
