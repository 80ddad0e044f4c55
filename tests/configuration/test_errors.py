"""Names from data reach a terminal, a page and a figure as one short line that can't steer it."""

import pickle
import unicodedata

import pytest

from salience.configuration.errors import SENTENCE_LENGTH, UserError, one_line
from salience.eval.drawing import plain
from salience.model_cards.markdown import escape
from tests.helpers.data_files import failure, write_csv, write_jsonl

ESCAPES = [
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "\u202egnp.exe",
    "\ud83d",
    "\x00",
    "\r\n",
    "\u2028",
    "\x85",
    "\x7f",
]


def is_inert(text):
    return len(text.splitlines()) <= 1 and not any(
        unicodedata.category(each) in ("Cc", "Cs") or unicodedata.bidirectional(each) == "RLO" for each in text
    )


@pytest.mark.parametrize("escape_code", ESCAPES)
def test_nothing_that_steers_a_terminal_is_left(escape_code):
    hostile = f"column '{escape_code}text' isn't there"
    for text in (one_line(hostile), str(UserError(hostile)), plain(hostile, 99), escape(hostile)):
        assert is_inert(text) and "text" in text and "there" in text


def test_ordinary_text_stays_what_it_is():
    sentence = "--train_file news.csv, row 7: “Zürich” 日本語 👍 has no label; add one"
    assert str(UserError(sentence)) == one_line(sentence) == sentence
    assert plain("a $5 bill", 28) == r"a \$5 bill"


def test_a_long_sentence_keeps_file_and_way_out():
    error = UserError(f"'news.csv' row 3 has the label {'x' * 10_000}; write it again")
    assert str(error).startswith("'news.csv' row 3") and str(error).endswith("xx; write it again")
    assert len(str(error)) <= SENTENCE_LENGTH + 3
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("escape_code", ESCAPES[:4])
def test_column_and_file_names_in_a_refusal(tmp_path, escape_code):
    name = f"{escape_code}body"
    rows = [("a", "b")] * 4
    assert is_inert(failure(write_csv(tmp_path / f"{escape_code}.csv", rows, header=(name, "label"))))
    assert is_inert(failure(write_jsonl(tmp_path / "rows.jsonl", [{name: "a", "label": "b"}])))
    assert is_inert(failure(str(tmp_path / f"none{escape_code}.csv")))
