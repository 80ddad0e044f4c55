import json
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from salience.modeling.tokenizer_loading import length_limit
from salience.train.building.word_tokenizer import build_word_tokenizer, portable_tokenizer, sentence_end_ids
from tests.helpers.paths import TINY_TOKENIZER

TEXTS = [
    "I don't know.\n\nHello, hello! You don't know 3.14 or 1,000.",
    "Hello? O’Neil's 10th try (of 10) cost 3.14, 1,000 or 10.\r\nO’Neil's 10th try... 你好。你好！",
]


def words(text):
    return build_word_tokenizer([text], min_frequency=1).tokenize(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't  know.\tIt's O’Neil's", ["i", "don't", "know", ".", "it's", "o’neil's"]),
        ("'hi' --well--", ["'", "hi", "'", "-", "-", "well", "-", "-"]),
        ("a\r\nb\n\n c\rd", ["a", "\n", "b", "\n", "\n", "c", "\n", "d"]),
        ("3.14 1,000 10th 4x 3.", ["3.14", "1,000", "10th", "4x", "3", "."]),
        ("snake_case a\u200bb\xa0c", ["snake", "_", "case", "a", "b", "c"]),
        ("e\u0301te\u0301", ["été"]),
        ("你好。ok こ！", ["你", "好", "。", "ok", "こ", "！"]),
        ("   ", []),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_the_most_frequent_words_are_kept_and_special_tokens_come_first():
    tokenizer = build_word_tokenizer(["a a a b b c c d"], vocab_size=2)
    assert tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3}  # b before c: equal counts by alphabet
    assert tokenizer.pad_token_id == 0 and tokenizer.unk_token_id == 1
    assert tokenizer("a d").input_ids == [2, 1]
    assert "d" not in build_word_tokenizer(["a a a b b c c d"]).get_vocab()


def test_the_vocabulary_is_the_same_each_time():
    assert build_word_tokenizer(TEXTS).get_vocab() == build_word_tokenizer(iter(TEXTS)).get_vocab()


def test_word_pieces_are_the_same_each_time():
    random_letters = random.Random(0)
    words = ["".join(random_letters.choices("abcdefghäß中", k=random_letters.randint(2, 7))) for _ in range(400)]
    texts = [" ".join(random_letters.choices(words, k=12)) for _ in range(100)]  # many pairs are equally frequent
    vocabularies = [build_word_tokenizer(texts, 120, vocabulary="wordpieces").get_vocab() for _ in range(4)]
    assert all(each == vocabularies[0] for each in vocabularies)
    assert len(vocabularies[0]) == 122


def test_a_piece_in_raw_text_is_no_piece():
    tokenizer = build_word_tokenizer(["able cable table # e ##"] * 9, vocabulary="wordpieces")
    assert tokenizer.tokenize("##e") == ["#", "#", "e"]
    assert set(tokenizer.all_special_tokens) == {"[PAD]", "[UNK]"}


def test_batches_are_padded_and_long_texts_are_neither_cut_nor_complained_about(caplog):
    tokenizer = build_word_tokenizer(TEXTS)
    batch = tokenizer(["hello " * 20_000, ""], padding=True, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"].shape == (2, 20_000)
    assert batch["attention_mask"].sum(1).tolist() == [20_000, 0]
    assert not caplog.records


def test_it_survives_saving_loading_and_pickling(tmp_path):
    tokenizer = build_word_tokenizer(TEXTS)
    tokenizer.save_pretrained(tmp_path)
    # The one class name that transformers 4 and 5 both load.
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    for again in (AutoTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert again(TEXTS).data == tokenizer(TEXTS).data
        assert again.model_input_names == ["input_ids", "attention_mask"]
        assert again.pad_token_id == 0 and length_limit(again) is None


def test_a_loaded_tokenizer_is_made_portable(tmp_path):
    build_word_tokenizer(TEXTS).save_pretrained(tmp_path / "first")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "first")
    assert portable_tokenizer(loaded) is loaded
    loaded.save_pretrained(tmp_path / "second")
    config = json.loads((tmp_path / "second" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    tiny = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    assert type(portable_tokenizer(tiny)).__name__.startswith("Bert")


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_gets_ids(text):
    tokenizer = build_word_tokenizer([text], min_frequency=1)
    ids = tokenizer(text).input_ids
    assert all(0 <= i < len(tokenizer) for i in ids)
    assert text.isspace() or not text.isalnum() or ids


def test_sentence_ends_of_a_word_vocabulary():
    tokenizer = build_word_tokenizer(["Why? No! Well… 3.14. 好。！？ न। ع؟ ے۔\n ) , ; 's ["], min_frequency=1)
    ends = set(tokenizer.convert_ids_to_tokens(sentence_end_ids(tokenizer)))
    assert ends == {"?", "!", "…", ".", "。", "！", "？", "।", "؟", "۔", "\n"}


def test_sentence_ends_of_wordpiece():
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    assert set(tokenizer.convert_ids_to_tokens(sentence_end_ids(tokenizer))) == {".", "!", "?", "…"}


def test_sentence_ends_of_byte_level_bpe():
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<pad>"],
        show_progress=False,
    )
    backend.train_from_iterator(['Hi there.\n\nWhat? "Oh." 你好。这是！ok… etc...\n'] * 50, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
    ends = {tokenizer.decode([index]) for index in sentence_end_ids(tokenizer)}
    assert {"\n", ".", "?", "。", "！", "…", '."', "..."} <= ends
    assert not any(character.isalnum() for end in ends for character in end)


def test_sentence_ends_of_byte_fallback():
    vocab = {"<unk>": 0, "<0x0A>": 1, "▁.": 2, "a": 3, "?": 4, ",": 5}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    assert sentence_end_ids(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")) == [1, 2, 4]


def test_no_sentence_ends():
    assert sentence_end_ids(build_word_tokenizer(["a b"], min_frequency=1)) == []


def test_wordpieces_spell_the_words_that_are_not_known():
    texts = ["unhappy people are unhappy", "happy people. kind people!", "unkind people are happy", "kind unkind"] * 3
    words = build_word_tokenizer(texts, vocab_size=60, min_frequency=2)
    pieces = build_word_tokenizer(texts, vocab_size=60, min_frequency=2, vocabulary="wordpieces")
    assert words.unk_token in words.tokenize("unpeople")
    spelled = pieces.tokenize("unpeople")
    assert pieces.unk_token not in spelled and len(spelled) > 1
    assert pieces.decode(pieces("unpeople are happy")["input_ids"]) == "unpeople are happy"
    assert set(pieces.convert_ids_to_tokens(sentence_end_ids(pieces))) == {".", "!"}
