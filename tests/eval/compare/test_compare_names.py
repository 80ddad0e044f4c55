"""What runs are called in a comparison."""

from salience.eval.compare.page import shorten
from salience.eval.compare.results import distinct_names


def test_names_are_what_tells_folders_apart(tmp_path):
    def names(*folders):
        return distinct_names([tmp_path / folder for folder in folders])

    assert names("a", "b/c") == ["a", "c"]
    assert names("a/final", "b/final") == ["a", "b"]
    assert names("x/lstm/seed_0", "x/gat/seed_0") == ["lstm", "gat"]
    assert names("x/lstm/seed_0", "x/gat/seed_1") == ["lstm/seed_0", "gat/seed_1"]
    assert names("lstm/seed_0") == ["lstm/seed_0"]
    assert names("x/a", "y/a", "y/b") == ["x/a", "y/a", "y/b"]
    assert names("a\x1b", "a\x07") == ["a (1)", "a (2)"]
    assert shorten("a" * 99 + "b") == "a" * 19 + "…" + "a" * 19 + "b"
