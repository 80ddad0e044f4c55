import json
import re

import pytest

from salience.model_cards.results_page import (
    BEGIN,
    END,
    README,
    RESULTS,
    StudyNumbers,
    ratio,
    read_benchmark,
    read_study,
    readme_with_table,
    render_page,
)
from tests.helpers.paths import ROOT

PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
QUESTIONS = [section for section in SECTIONS if section.splitlines()[0].endswith("?")]
STUDY = {
    "data": {"splits": {"test": 7600}},
    "rows": {
        "ours": {
            "seeds": {"0": {"accuracy": 0.9, "train_seconds": 60}, "1": {"accuracy": 0.92, "train_seconds": 900}},
            "mean": {"accuracy": 0.91},
            "sd": {"accuracy": 0.0141},
            "against": {"plain_1": {"difference": 0.01, "low": -0.002, "high": 0.022, "p_value": 0.0999}},
        },
        "plain_1": {
            "seeds": {"0": {"accuracy": 0.9, "train_seconds": 30}},
            "mean": {"accuracy": 0.9},
            "sd": {"accuracy": None},
            "against": {},
        },
    },
}


def test_the_page_of_results_is_what_the_studies_say():
    assert render_page() == PAGE, "make pages"


def test_the_table_of_the_readme_is_what_the_studies_say():
    readme = README.read_text(encoding="utf-8")
    assert readme_with_table(readme) == readme, "make pages"


def test_what_make_train_prints_in_the_readme_is_the_first_seed_of_the_study():
    printed = re.search(r"^test +accuracy (0\.\d{4})", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert printed
    assert float(printed[1]) == round(read_study("bbc_news").content["rows"]["attn_pool"]["seeds"]["0"]["accuracy"], 4)


def test_every_committed_result_is_on_the_page():
    linked = set(re.findall(r"\((\w+)/(?:study|benchmark)\.json\)", PAGE))
    assert linked == {path.parent.name for path in RESULTS.glob("*/*.json")}


def test_each_question_has_an_answer_a_table_and_a_command_that_there_is():
    assert len(QUESTIONS) == len(SECTIONS) - 2  # the contents, and what was measured once
    for section in QUESTIONS:
        assert re.search(r"/(study|benchmark)\.json\)", section), section
        assert re.search(r"\*\*.+?\*\*", section, re.DOTALL), section
        assert re.search(r"^\| .*\n\| ---", section, re.MULTILINE), section
        command = re.search(r"```bash\nsalience (study|benchmark) (\S+)", section)
        assert command, section
        assert command[1] == "benchmark" or (ROOT / command[2]).is_file(), section


def test_no_result_is_written_by_hand():
    """Outside of expressions, code and the section of single measurements, the template holds no decimal number."""
    text = (RESULTS / "page.md.j2").read_text(encoding="utf-8").split("## Measured once")[0]
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|`[^`]*`|arXiv \d+\.\d+", "", text, flags=re.DOTALL)
    assert not re.findall(r"\S*\d\.\d\S*", text)


def test_a_study_says_scores_in_percent_and_differences_in_points():
    study = StudyNumbers(STUDY)
    assert study.score("ours") == "91.00 ± 1.41"
    assert study.score("plain_1") == "90.00"
    assert study.seeds("ours") == "90.00, 92.00"
    assert study.points("ours", "plain_1") == "+1.00"
    assert study.against("ours", "plain_1") == "+1.00 (-0.20 to +2.20, p 0.100)"
    assert study.minutes("ours") == "8.00"
    assert study.texts("test") == "7,600"


def test_a_table_takes_rows_and_patterns_of_rows():
    study = StudyNumbers(STUDY)
    rows = {"ours, tuned": "ours", "plain": "plain_1"}
    head, _, first, second = study.table(rows, ["accuracy", "points against plain_1"]).splitlines()
    assert head == "|  | accuracy | points against plain |"
    assert first == "| ours, tuned | 91.00 ± 1.41 | +1.00 (-0.20 to +2.20, p 0.100) |"
    assert second == "| plain | 90.00 |  |"
    assert study.table({"plain": "plain_{}"}, [["1:1", "accuracy", 1]]).splitlines()[2] == "| plain | 90.00 |"


def test_a_row_that_the_study_lacks_is_an_error():
    with pytest.raises(KeyError, match="plain_2"):
        StudyNumbers(STUDY).table({"plain": "plain_{}"}, [["1:2", "accuracy", 2]])


def test_a_ratio_needs_exactly_one_row_of_the_benchmark():
    part = read_benchmark("hierarchical_benchmark")["steps"]
    assert re.fullmatch(
        r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)",
        ratio(part, "hierarchical", "lstm", mode="training", batches="mixed lengths"),
    )
    with pytest.raises(ValueError, match="too many values"):
        ratio(part, "hierarchical", "lstm", mode="training")


def test_a_stale_table_of_the_readme_is_written_anew_and_the_rest_stays():
    readme = readme_with_table(f"# Title\n{BEGIN}| old |\n{END}\n## Next\n")
    assert readme.startswith(f"# Title\n{BEGIN}| test accuracy, percent |") and readme.endswith(f"|\n{END}\n## Next\n")
    with pytest.raises(ValueError, match="make pages"):
        readme_with_table("# Title\n")


def test_numbers_of_results_are_those_of_the_seeds():
    for file in RESULTS.glob("*/study.json"):
        for name, row in json.loads(file.read_text(encoding="utf-8"))["rows"].items():
            accuracies = [seed["accuracy"] for seed in row["seeds"].values()]
            assert row["mean"]["accuracy"] == pytest.approx(sum(accuracies) / len(accuracies)), (file, name)
