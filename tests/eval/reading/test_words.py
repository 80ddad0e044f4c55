from salience.eval.reading.words import heaviest_words, read_text
from tests.helpers.tiny import LABELS, tiny_model


def test_a_word_weighs_what_its_heaviest_place_weighs():
    words = ["The", "goal", ".", "the", "bank", ",", "the", "goal"]
    found = heaviest_words(words, [0.1, 0.2, 0.9, 0.1, 0.15, 0.9, 0.1, 0.25])
    assert found == [("goal", 0.25), ("bank", 0.15), ("the", 0.1)], "punctuation is no word"


def test_reading_names_label_score_and_words(tokenizer):
    reading = read_text(tiny_model("attn_pool"), tokenizer, "the bank raised its rates")
    assert reading.label in LABELS["label2id"] and 1 / 3 <= reading.score <= 1
    assert len(reading.words) == 5 and sum(weight for _, weight in reading.words) <= 1
    assert read_text(tiny_model("lstm"), tokenizer, "the bank").words == []
