"""configuration/README.md says what the flags say of themselves."""

from dataclasses import fields

from salience.configuration.flags import page as flags_page
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.parser import RecipeParser
from salience.eval.cli import EVAL_COMMANDS


def test_the_page_is_what_the_flags_say():
    assert flags_page.main(["--check"]) is None


def test_a_page_that_is_not_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(flags_page, "PAGE", tmp_path / "README.md")
    assert "run: python -m salience.configuration.flags.page" in flags_page.main(["--check"])
    assert flags_page.main([]) is None and flags_page.main(["--check"]) is None
    assert flags_page.main(["--nonsense"]).startswith("usage")


def test_it_has_every_flag_of_ours_and_every_command():
    text = flags_page.page()
    groups = RecipeParser().dataclass_types[:3]
    assert [each.name for group in groups for each in fields(group) if f"| `--{each.name}` |" not in text] == []
    assert [name for name in EVAL_COMMANDS if f"### {name}\n" not in text] == []
    assert all(each.metadata["help"] for each in fields(ModelArguments))
