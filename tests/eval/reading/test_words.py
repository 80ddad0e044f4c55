from salience.eval.reading.words import heaviest_words, read_text
from tests.helpers.tiny import LABELS, tiny_model


def test_a_word_weighs_what_its_heaviest_place_weighs(tokenizer):
    text = "The goal. the bank, the goal"
    encoding = tokenizer(text)
    words = [encoding.word_ids(0)[token] for token in range(len(encoding["input_ids"]))]
    weights = [
        0.0 if word is None else {0: 0.1, 1: 0.2, 3: 0.1, 4: 0.15, 6: 0.1, 7: 0.25}.get(word, 0.9) for word in words
    ]
    found = heaviest_words(text, encoding, weights)
    assert [word for word, _ in found[:3]] == ["goal", "bank", "the"]
    assert all(word.isalnum() for word, _ in found), "punctuation is no word"


def test_reading_names_label_score_and_words(tokenizer):
    reading = read_text(tiny_model("attn_pool"), tokenizer, "the bank raised its rates")
    assert reading.label in LABELS["label2id"] and 1 / 3 <= reading.score <= 1
    assert len(reading.words) == 5 and sum(weight for _, weight in reading.words) <= 1
    assert read_text(tiny_model("lstm"), tokenizer, "the bank").words == []
