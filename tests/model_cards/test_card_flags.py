"""Licence and languages: from flags over the record of a run to its card."""

import re

import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.train.folder.record import changed_arguments
from tests.helpers.card_runs import card_of, make_run, read, write


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--license", "MIT License"], "--license MIT License is no name of the Hub for a licence"),
        (["--language", "english"], "--language english is no code of a language"),
        (["--language", "en", "German"], "--language en German is no code of a language"),
    ],
)
def test_what_a_card_would_say_is_looked_at(flags, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        RecipeParser().parse(["--output_dir", "out", *flags])


def test_flags_reach_the_card(tmp_path):
    flags = ["--output_dir", "out", "--license", "cc-by-sa-4.0", "--language", "en", "zh-Hans"]
    folder = make_run(tmp_path)
    run = read(folder, "run.json")
    write(folder / "run.json", run | {"arguments": changed_arguments(RecipeParser().parse(flags))})
    data = card_of(folder).data
    assert (data.license, data.language) == ("cc-by-sa-4.0", ["en", "zh-Hans"])
