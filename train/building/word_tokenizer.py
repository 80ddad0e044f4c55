"""Tokenizers for models that are trained from scratch, and the tokens that end a sentence."""

import re
from collections.abc import Iterable
from typing import Any

import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from salience.modeling.explaining import CLOSING, SPACED_ENDS, UNSPACED_ENDS
from salience.modeling.tokenizer_loading import PADDED_LENGTH

PAD_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"  # ids 0 and 1

# Scripts that put no space between words: each character is a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORDS = "|".join(
    [
        r"\n",
        rf"[{_UNSPACED}]",
        r"(?>\p{N}+(?:[.,]\p{N}+)*)(?!\p{L})",  # 3.14 and 1,000 whole; 4th is left to the next line
        rf"[\p{{L}}\p{{M}}\p{{N}}&&[^{_UNSPACED}]]+(?:['’][\p{{L}}\p{{M}}]+)*",  # don't, O’Neil's
        r"[^\s\p{Cc}\p{Cf}]",  # any other mark alone; invisible characters are dropped
    ]
)

# Decoded tokens that end a sentence: a line break, or end marks, with quotes and brackets closing after them.
_SENTENCE_END = re.compile(rf"[^\w]*\n[^\w]*|\s*[{SPACED_ENDS}{UNSPACED_ENDS}]+[{CLOSING}]*\s*")


class PreTrainedTokenizerFast(transformers.PreTrainedTokenizerFast):
    """transformers' fast tokenizer under the one name that every supported version can load.

    transformers 5 calls this class `TokenizersBackend` and writes that name into `tokenizer_config.json`, where
    transformers 4 doesn't know it. Both know `PreTrainedTokenizerFast`, which a subclass of that name writes.
    """


def portable_tokenizer(tokenizer: transformers.PreTrainedTokenizerBase) -> transformers.PreTrainedTokenizerBase:
    """Make a tokenizer save itself so that every supported version of transformers loads it.

    Args:
        tokenizer: Any tokenizer. One of transformers 5's nameless class is changed in place; others stay as they are.

    Returns:
        The same object.
    """
    if type(tokenizer) is transformers.PreTrainedTokenizerFast:
        tokenizer.__class__ = PreTrainedTokenizerFast
    return tokenizer


# Models and trainers of a vocabulary: whole words, or pieces that spell the rarer ones (Wu et al. 2016).
VOCABULARIES: dict[str, tuple[Any, Any]] = {
    "words": (models.WordLevel, trainers.WordLevelTrainer),
    "wordpieces": (models.WordPiece, trainers.WordPieceTrainer),
}


def build_word_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 20_000,
    min_frequency: int = 2,
    vocabulary: str = "words",
) -> PreTrainedTokenizerFast:
    """Count the words of the training texts and make a tokenizer that knows the most frequent ones.

    Punctuation marks and line breaks are words of their own; other white space is dropped. Contractions (don't) and
    numbers (3.14) stay whole. `[PAD]` is 0 and `[UNK]` is 1; no special token is added to a text, which is never cut.

    Args:
        texts: The training texts; read twice for word pieces.
        vocab_size: Words kept at most, the two special tokens not counted.
        min_frequency: Words seen less often are left out.
        vocabulary: "words", or "wordpieces": a word that isn't known is then spelled in pieces of known ones.

    Returns:
        A tokenizer that gives `input_ids` and `attention_mask`; equal texts always give an equal vocabulary.
    """
    model_class, trainer_class = VOCABULARIES[vocabulary]
    tokenizer = Tokenizer(model_class(unk_token=UNKNOWN_TOKEN))
    steps = [normalizers.NFC(), normalizers.Replace(Regex(r"\R"), "\n"), normalizers.Lowercase()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    specials = [PAD_TOKEN, UNKNOWN_TOKEN]
    endings = _inner_characters(tokenizer, texts) if vocabulary == "wordpieces" else []
    trainer = trainer_class(
        vocab_size=vocab_size + len(specials),
        min_frequency=min_frequency,
        special_tokens=[*specials, *endings],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if vocabulary == "wordpieces":
        tokenizer = _without_added_tokens(tokenizer)
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        unk_token=UNKNOWN_TOKEN,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=PADDED_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def _inner_characters(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Every character that stands inside of a word, as a piece, sorted.

    The trainer numbers them in the random order of a hash map, and breaks ties between merges by these numbers: given
    to it, they have the same numbers each time.
    """
    found: set[str] = set()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        found.update(*(word[1:] for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)))
    return [f"##{character}" for character in sorted(found)]


def _without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, in which no piece is looked for in raw text."""
    plain = Tokenizer(models.WordPiece(tokenizer.get_vocab(), unk_token=UNKNOWN_TOKEN))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.add_special_tokens([PAD_TOKEN, UNKNOWN_TOKEN])
    return plain


def sentence_end_ids(tokenizer: transformers.PreTrainedTokenizerBase) -> list[int]:
    r"""Find the tokens after which a sentence ends.

    They are found by what they decode to, so that it works for any vocabulary: `.`, `!`, `?`, `…`, `。`, `！`, `？`,
    alone, repeated, or with a closing quote or bracket, and tokens made of line breaks (`Ċ` of byte-level BPE).

    Args:
        tokenizer: A fast tokenizer, pretrained or from `build_word_tokenizer`.

    Returns:
        Their ids, ascending; empty if the vocabulary has none.
    """
    special = set(tokenizer.all_special_tokens)
    return sorted(
        index
        for token, index in tokenizer.get_vocab().items()
        if token not in special and _SENTENCE_END.fullmatch(tokenizer.convert_tokens_to_string([token]))
    )
