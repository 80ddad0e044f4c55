"""A card says what the results files say, whatever names and files are like."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salience.configuration.errors import UserError
from salience.model_cards.card import pin_usage, write_card
from salience.model_cards.markdown import escape, shell_block, table
from tests.helpers.blocks import usage_blocks
from tests.helpers.card_runs import card_of, make_run, read, write

HOSTILE = [
    "<script>alert('x')</script>",
    "a|b\\|c",
    "line\nbreak\n```python\nraise SystemExit\n```",
    "`tick` **bold** [link](javascript:alert(1)) {{ 7*7 }} {% raw %}",
    "---\nlicense: mit\n---",
    "right \u202eto left\u0000\ud800",
    "x" * 5000,
]


def tables_of(text):
    """Cells of every table in a card, as a Markdown reader splits them."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.strip().splitlines()] for block in blocks]


def set_arguments(folder, **arguments):
    run = read(folder, "run.json")
    write(folder / "run.json", run | {"arguments": run["arguments"] | arguments})


def test_metadata_and_its_numbers_are_those_of_the_results_files(tmp_path):
    folder = make_run(tmp_path)
    set_arguments(folder, language="en", license="apache-2.0")
    data = card_of(folder).data
    assert (data.language, data.license) == (["en"], "apache-2.0")
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert data.tags == ["salience", "attn-pool"]
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2" and data.base_model_relation == "finetune"
    assert data.datasets == ["SetFit/bbc-news"]
    assert data.metrics == ["accuracy", "f1", "roc_auc"]
    test = read(folder, "test_results.json")
    assert data.model_name == "bbc-news"
    assert [(r.metric_name, r.metric_value) for r in data.eval_results] == [
        ("Accuracy", test["test_accuracy"]),
        ("F1 (macro)", test["test_f1_macro"]),
        ("F1 (weighted)", test["test_f1_weighted"]),
        ("ROC-AUC (one-vs-rest, macro)", test["test_roc_auc"]),
    ]
    assert {(r.dataset_name, r.dataset_type, r.dataset_split) for r in data.eval_results} == {
        ("BBC News", "SetFit/bbc-news", "test")
    }
    assert data.eval_results[0].dataset_args == {"sha256": "cd" * 32} and not data.eval_results[0].dataset_revision
    set_arguments(folder, dataset_revision="0f2c")
    assert {result.dataset_revision for result in card_of(folder).data.eval_results} == {"0f2c"}


def test_body_shows_scores_classes_data_and_training(tmp_path):
    text = card_of(make_run(tmp_path)).text
    scores, per_class, splits, counts, arguments = [
        [[cell.strip() for cell in row] for row in block] for block in tables_of(text)
    ]
    assert ["Accuracy", "0.9732", "0.9732"] in scores and ["Texts", "90", "90"] in scores
    assert ["tech", "0.9100", "0.8200", "0.8627", "40"] in per_class
    assert ["train", "600", "ab" * 32] in splits
    assert ["tech", "300", "300"] in counts
    assert ["learning\\_rate", "5e-05"] in arguments
    for fact in (
        "**97.3 %** correctly",
        "train.py recipe.yaml --seed 1",
        "5 min 3 s on 2 cores of A CPU",
        "seed 1",
        "at most 2,150 MB of memory",
        "dropout of attention weights 0",
        "22,000,000 parameters, of which 1,000 were trained",
        "torch 2.13.0",
        "1:3.0 (tech has 300 training texts, business 100)",
        "only rough scores: business.",
    ):
        assert fact in text


def test_test_texts_that_were_trained_on_are_told_beside_the_score(tmp_path):
    folder = make_run(tmp_path)
    assert "stand in the training texts" not in card_of(folder).text
    run = read(folder, "run.json")
    run["data"]["splits"]["test"]["also_in_training"] = 1234
    write(folder / "run.json", run)
    text = card_of(folder).text
    assert "**1,234 of them stand in the training texts, too.**" in text
    assert "- 1,234 test texts stand in the training texts, too, word for word: scores on them are too high." in text


def test_the_interval_of_a_perfect_score_ends_at_all(tmp_path):
    folder = make_run(tmp_path)
    write(folder / "test_results.json", read(folder, "test_results.json") | {"test_accuracy": 1.0, "test_samples": 20})
    assert "labelled **100.0 %** correctly (95 % interval: 83.9 to 100.0 %)." in card_of(folder).text


def test_after_resuming_loss_and_duration_of_the_last_part_are_left_out(tmp_path):
    folder = make_run(tmp_path)
    assert "mean training loss" in card_of(folder).text
    run = read(folder, "run.json")
    run["arguments"]["resume_from_checkpoint"] = "last"
    write(folder / "run.json", run)
    text = card_of(folder).text
    assert "mean training loss" not in text and "5 min 3 s" not in text


def test_a_prior_correction_takes_the_promise_of_calibration_back(tmp_path):
    folder = make_run(tmp_path)
    write(folder / "eval_results.json", read(folder, "eval_results.json") | {"eval_temperature": 1.2})
    assert "Scores were calibrated" in card_of(folder).text
    write(folder / "config.json", read(folder, "config.json") | {"prior_correction": [0.5, 0.0, -0.5]})
    assert "Scores were calibrated" not in card_of(folder).text


def test_usage_pins_the_revision_of_the_repo_with_its_code(tmp_path):
    blocks = usage_blocks(pin_usage(card_of(make_run(tmp_path)).content, "bob/news", "0123abc"))
    assert blocks[0] == 'REPO = "bob/news"\nREVISION = "0123abc"\n'
    code = "".join(blocks)
    assert code.count("revision=REVISION, trust_remote_code=True") == 3
    assert "outputs.pooling_weights" in code
    compile(code, "card", "exec")


def test_without_a_repo_the_usage_says_what_to_fill_in(tmp_path):
    folder = make_run(tmp_path)
    run = read(folder, "run.json")
    del run["arguments"]["hub_model_id"]
    write(folder / "run.json", run)
    block = usage_blocks(card_of(folder).content)[0]
    assert re.search(r'^REPO = "user/name"  # .*path', block) and re.search(r'REVISION = "main"  # .*commit', block)
    compile(block, "card", "exec")


def test_hostile_names_change_nothing_but_their_cells(tmp_path):
    calm = make_run(tmp_path / "calm", labels=[f"label {i}" for i in range(len(HOSTILE))])
    hostile = make_run(tmp_path / "hostile", labels=HOSTILE)
    run = read(hostile, "run.json")
    run["data"] |= {"name": HOSTILE[4], "source": HOSTILE[2]}
    run["command"] = HOSTILE[2]
    write(hostile / "run.json", run)
    calm_card, card = card_of(calm), card_of(hostile)
    assert usage_blocks(card.content) == usage_blocks(calm_card.content)
    assert card.data.license is None
    assert card.data.eval_results[0].dataset_name == "--- license: mit ---"
    assert not re.search(r"<script|\u202e|\u0000|x{101}|49", card.text)
    assert [[len(row) for row in block] for block in tables_of(card.text)] == [
        [len(row) for row in block] for block in tables_of(calm_card.text)
    ]
    assert re.findall(r"^#+ .*", card.text, re.MULTILINE)[1:] == re.findall(r"^#+ .*", calm_card.text, re.MULTILINE)[1:]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.sampled_from(HOSTILE))
def test_escaped_text_is_one_inert_line(text):
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not re.search(r"[<>]", escaped)
    assert not re.search(r"[`*_\[\]|~$]", re.sub(r"\\.", "", escaped))
    escaped.encode("utf-8")
    assert len(table(["name"], [[text]]).splitlines()) == 3
    opening, *_, closing = shell_block(text).split("\n")
    assert opening == closing + "bash" and closing not in shell_block(text)[len(opening) : -len(closing)]


@pytest.mark.parametrize("missing", ["train_results", "eval_results", "test_results", "run"])
def test_a_missing_file_leaves_its_figures_out(tmp_path, missing):
    card = card_of(make_run(tmp_path, **{missing: None}))
    headings = re.findall(r"^#+ (.*)", card.text, re.MULTILINE)
    assert ("Scores" in headings, "How to use it" in headings, "Limits" in headings) == (True, True, True)
    assert ("Per class, on the test texts" in headings) == (missing != "test_results")
    assert "Training" in headings and ("Training data" in headings) == (missing != "run")
    assert bool(card.data.eval_results) == (missing != "test_results")
    assert "None" not in card.text.replace("top_k=None", "") and "nan" not in card.text
    if missing == "test_results":
        assert "correctly" not in card.text and "No held-out test was made" in card.text


def test_only_a_model_gives_a_card_without_figures(tmp_path):
    empty = dict.fromkeys(["train_results", "eval_results", "test_results", "run"])
    card = card_of(make_run(tmp_path, **empty))
    assert "quality wasn't measured" in card.text and card.data.eval_results is None
    assert not tables_of(card.text)


def test_a_loss_that_is_no_number_is_shown_but_stays_out_of_the_metadata(tmp_path):
    card = card_of(make_run(tmp_path, test_results={"test_loss": float("nan"), "test_accuracy": 1.0}))
    assert [result.metric_name for result in card.data.eval_results] == ["Accuracy"]
    assert "| nan |" in card.text


@pytest.mark.parametrize("name", ["a b", "../x", 'x/y"\n```'])
def test_a_name_that_no_repo_can_have_is_not_in_the_usage(tmp_path, name):
    folder = make_run(tmp_path)
    set_arguments(folder, hub_model_id=name)
    assert usage_blocks(card_of(folder).content)[0].startswith('REPO = "user/name"')


def test_folders_that_are_no_run_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        write_card(tmp_path)
    make_run(tmp_path)
    (tmp_path / "test_results.json").write_text("{")
    with pytest.raises(UserError, match=r"test_results\.json"):
        write_card(tmp_path)
