import json
import os
import sys

import numpy as np
import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.eval.benchmark import machine
from salience.eval.benchmark.command import BenchmarkArguments
from salience.eval.benchmark.contestants import STATIC, predictors, trainers
from salience.eval.benchmark.machine import Yardstick, raised_priority
from salience.eval.benchmark.processes import CALM, WORKERS, Contestant, Field, Outcome, Race, race
from salience.eval.benchmark.rows import agreement, finished, row_of, seconds_of
from salience.eval.benchmark.tables import race_tables
from salience.eval.benchmark.texts import read_data, read_texts, write_rows, write_splits
from salience.eval.cli import main
from salience.train.data.load import load_splits
from tests.helpers.tiny import save_tiny_encoder
from tests.helpers.toy import toy_csv, toy_texts, write_csv

SVM = STATIC[-1]


@pytest.fixture
def data(tmp_path):
    train = write_csv(tmp_path / "train.csv", toy_texts(60))
    return load_splits(DataArguments(train_file=[str(train)], validation_size=0.2, test_size=0.2))


@pytest.fixture(scope="module")
def yardstick(tmp_path_factory):
    return Yardstick(str(save_tiny_encoder(tmp_path_factory.mktemp("encoder"))))


def outcome(failure=None, **seconds):
    return Outcome({"seconds": seconds, "megabytes": 100.0}, 1.0, failure)


@pytest.mark.slow
def test_a_contestant_trains_and_predicts_in_processes_of_its_own(tmp_path, data):
    field, files = Field(tmp_path, None), write_splits(tmp_path, data)
    job = {"files": files, "model": str(tmp_path / "model"), "seed": 0}
    trained = field.run(SVM, job | {"task": "train"})
    assert trained.failure is None and trained.result["test_accuracy"] > 0.8 and 20 < trained.result["megabytes"] < 400
    assert trained.result["versions"].keys() >= {"scikit-learn", "numpy"}
    assert trained.seconds.keys() == {"import", "read", "train", "validate", "test"}
    predicted = field.run(SVM, job | {"task": "predict", "texts": ["test"]})
    labels = [data.label_names[label] for label in data.splits["test"]["labels"]]
    assert np.mean(np.array(predicted.result["answers"]["test"]) == labels) == trained.result["test_accuracy"]
    assert predicted.seconds["predict test"] > 0


@pytest.mark.parametrize("peer", [each for each in trainers({}, 24, True) if each.is_peer], ids=lambda each: each.name)
def test_a_peer_that_is_not_installed_is_told(tmp_path, data, peer):
    job = {"task": "train", "files": write_splits(tmp_path, data), "model": str(tmp_path / "model"), "seed": 0}
    assert Field(tmp_path, None).run(peer, job).failure.startswith("not run: make peers")
    assert "not installed: No module named" in str(Field(tmp_path, sys.executable).run(peer, job).failure)


def test_a_contestant_that_fails_is_not_run_again_and_the_others_go_on(tmp_path):
    calls = []
    broken = Contestant("broken", "with_sklearn.py", "no such files")

    def run(contestant, repetition):
        calls.append((contestant.name, repetition))
        return Field(tmp_path, None).run(broken, {"task": "train", "files": {}}) if contestant is broken else outcome()

    found = race([broken, SVM], 2, run, "", SVM.name)
    assert calls == [("broken", 0), (SVM.name, 0), (SVM.name, 1)]
    assert found.absent == {"broken": "ended with status 1: KeyError: 'train'"} and len(found.outcomes[SVM.name]) == 2


def test_peers_do_not_get_what_our_programs_set_for_themselves(tmp_path, monkeypatch):
    monkeypatch.setenv(*CALM)
    field = Field(tmp_path, None)
    ours, theirs = field._environment(predictors(24)[0]), field._environment(SVM)
    assert ours[CALM[0]] == "passive" and CALM[0] not in theirs
    monkeypatch.setenv(CALM[0], "active")  # by the user, for all
    assert field._environment(SVM)[CALM[0]] == "active"


def test_ratios_are_those_of_a_repetition_per_token():
    """Ours reads whole texts twice, and the other one half of each once."""
    ours, other = Contestant("ours", "", "us"), Contestant("other", "", "them")
    outcomes = {
        "ours": [outcome(load=1.0, train=1.0, test=50.0), outcome(load=1.0, train=3.0, test=50.0)],
        "other": [outcome(train=4.0), outcome(train=8.0)],
    }
    rows = [
        row_of(ours, outcomes["ours"], seconds_of(outcomes["ours"], but=("test",)), 200) | {"tokens": 2000.0},
        row_of(other, outcomes["other"], seconds_of(outcomes["other"]), 100) | {"tokens": 500.0, "operations": 6e9},
    ]
    limits = [{"fp32_flops": 1e9, "bf16_flops": 2e9, "bytes_per_second": 1e9}, {"fp32_flops": 2e9, "bf16_flops": 4e9,
              "bytes_per_second": 1e9}]  # fmt: skip
    result = finished(
        rows, Race(outcomes, {"third": "not installed: No module"}), limits, "ours", "what it means", "tokens"
    )
    first, second = result["rows"]
    assert first["seconds"] == {"median": 3.0, "low": 2.0, "high": 4.0} and first["texts_per_second"] == 200 / 3
    assert second["ratios"]["ours"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert second["ratios_per_one"]["ours"]["median"] == 8.0
    assert second["share_fp32"] == 0.5 and second["share_bf16"] == 0.25 and "share_fp32" not in first
    table = race_tables(result)
    assert "ABSENT third: not installed" in table and "what it means" in table and "8 (8-8)" in table


def test_answers_are_compared_with_those_in_single_precision():
    reference = [{"a": 2.0, "b": 0.0}, {"a": 0.1, "b": 0.0}, {"a": 0.0, "b": 5.0}, {"a": 3.0, "b": 0.0}]
    found = agreement(["a", "b", "b", "a"], reference)
    assert found["same"] == 0.75 and found["margin"] == pytest.approx(np.tanh(0.05))
    assert agreement(reference, reference) == {"same": 1.0, "margin": 0.0}


def test_operations_are_those_of_the_text_by_formula(yardstick):
    """The tiny encoder: two layers of width 16 and 32, windows of 24."""
    weights = 2 * (4 * 16 * 16 + 2 * 16 * 32)
    assert yardstick.num_weights == weights and yardstick.limit == yardstick.window == 24
    assert yardstick.operations(np.array([10]), 24) == 2 * 10 * weights + 4 * 10 * 10 * 2 * 16
    assert yardstick.operations(np.array([48]), 24) == 2 * 48 * weights + 4 * 48 * 24 * 2 * 16


def test_pieces_have_the_length_that_is_asked_for(yardstick):
    texts = [text for text, _ in toy_texts(24)]
    pieces = yardstick.pieces(texts, 12, 40)
    lengths = yardstick.lengths(pieces)
    assert len(pieces) == 40 and abs(np.median(lengths) - 12) <= 1
    assert yardstick.lengths(texts, limit=5).max() == 5


def test_priority_is_raised_where_it_may_be_and_falls_back(monkeypatch):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with raised_priority() as is_raised:
        assert (os.getpriority(os.PRIO_PROCESS, 0) == machine.HIGHEST) >= is_raised
    assert os.getpriority(os.PRIO_PROCESS, 0) == before

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    with raised_priority() as is_raised:
        assert not is_raised


def test_texts_are_the_same_for_all(tmp_path, data):
    write_rows(tmp_path / "odd.jsonl", ["a\u2028b\nc", "ü"], ["x y", "z"])
    lines = (tmp_path / "odd.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a\u2028b\nc", "ü"]
    again = load_splits(
        DataArguments(**{f"{s}_file": [f] if s == "train" else f for s, f in write_splits(tmp_path, data).items()})
    )
    assert {split: list(rows["text"]) for split, rows in again.splits.items()} == {
        split: list(rows["text"]) for split, rows in data.splits.items()
    }


def test_texts_without_classes_or_test_split_are_refused(tmp_path):
    train = write_csv(tmp_path / "train.csv", toy_texts(24))
    with pytest.raises(UserError, match="--test_size"):
        read_data(DataArguments(train_file=[str(train)]), None, 0)
    values = write_csv(tmp_path / "values.csv", [(text, f"{row}.5") for row, (text, _) in enumerate(toy_texts(24))])
    with pytest.raises(UserError, match="regression"):
        read_data(DataArguments(train_file=[str(values)], test_size=0.2), None, 0)
    with pytest.raises(UserError, match="--train_file is missing"):
        read_data(DataArguments(test_file=str(train)), None, 0)
    drawn = read_data(DataArguments(train_file=[str(train)], test_size=0.3), 5, 0)
    assert {split: len(rows) for split, rows in drawn.splits.items()} == {"train": 5, "validation": 4, "test": 5}


@pytest.mark.parametrize("suite", ["train", "predict"])
def test_unknown_contestants_and_peers_are_refused(suite):
    with pytest.raises(UserError, match='"fasttext" is unknown; choose from .*"fastText"'):
        BenchmarkArguments(suite=suite, contestants=["fasttext"])
    with pytest.raises(UserError, match="--peers nowhere is no program"):
        BenchmarkArguments(suite=suite, peers="nowhere")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"learning_rat": 1}, "--train_flags: unknown argument learning_rat"),
        ({"max_length": "x"}, "--train_flags: .*max_length"),
        ({"seed": 3}, "--train_flags: seed is set by the benchmark itself"),
    ],
)
def test_wrong_flags_of_training_are_refused_before_anything_is_timed(flags, says):
    with pytest.raises(UserError, match=says):
        BenchmarkArguments(suite="train", train_flags=json.dumps(flags))


def test_flags_without_effect_on_a_test_file_alone_are_refused(tmp_path):
    file = str(write_csv(tmp_path / "test.csv", toy_texts(8)))
    assert len(read_texts(DataArguments(test_file=file, text_column=["text"]), None, 0)) == 8
    with pytest.raises(UserError, match="--validation_size has no effect on --test_file alone"):
        read_texts(DataArguments(test_file=file, validation_size=0.3), None, 0)


def test_without_the_one_that_others_are_compared_with_no_race_goes_on():
    ran = []

    def run(contestant, repetition):
        ran.append(contestant.name)
        return Outcome({}, 0, "ended with status 2: error: no such")

    ours, other = Contestant("ours", "", "us"), Contestant("other", "", "them")
    with pytest.raises(UserError, match="ours, with which all are compared: ended with status 2: error: no such"):
        race([ours, other], 3, run, "", "ours")
    assert ran == ["ours"]


@pytest.mark.slow
def test_what_training_refuses_is_the_reason_that_is_told(tmp_path, data):
    job = {"files": write_splits(tmp_path, data), "model": str(tmp_path / "model"), "seed": 0, "encoder": "nowhere"}
    failure = Field(tmp_path, None).run(trainers({}, 24, True)[1], job | {"task": "train"}).failure
    assert failure.startswith("ended with status 2: error: ") and "nowhere" in failure


def test_every_contestant_has_a_program():
    for each in (*trainers({}, 24, True), *predictors(24)):
        assert (WORKERS / each.worker).is_file() and each.about


def benchmark(tmp_path, suite, *flags, repetitions="1"):
    encoder = str(save_tiny_encoder(tmp_path / "encoder"))
    out = tmp_path / suite
    words = ["--suite", suite, "--encoder", encoder, "--repetitions", repetitions, "--output_dir", str(out), *flags]
    assert main(["benchmark", *toy_csv(tmp_path), *words]) == 0
    results = json.loads((out / "benchmark.json").read_text())
    assert (out / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    part = results["parts"][suite]
    assert part["limits"]["fp32_flops"] > 0 and results["environment"]["load_average"].keys() == {"before", "after"}
    return {(row["model"], row["batches"]): row for row in part["rows"]}, part["absent"]


@pytest.mark.slow
def test_start_is_timed_beside_the_plain_class(tmp_path, capsys):
    rows, absent = benchmark(tmp_path, "start")
    assert not absent and [name for name, _ in rows] == ["salience", "salience, installed", "plain head"]
    for row in rows.values():
        assert row["phases"].keys() == {"import", "load", "first answer", "second answer"}
        assert row["seconds"]["median"] == pytest.approx(row["phases"]["load"] + row["phases"]["first answer"])
    assert "the plain class is faster" in capsys.readouterr().out


@pytest.mark.slow
def test_training_is_timed_end_to_end_and_absent_peers_are_told(tmp_path, capsys):
    flags = json.dumps({"num_train_epochs": 1, "max_length": 16})
    tuned = "run_classification.py, tuned, 128 tokens"
    named = ["--contestants", "run_classification.py", tuned, "TF-IDF + linear SVM", "SetFit"]
    rows, absent = benchmark(tmp_path, "train", "--train_flags", flags, *named)
    assert [name for name, _ in rows] == ["salience train", "run_classification.py", tuned, "TF-IDF + linear SVM"]
    assert absent.keys() == {"SetFit"} and "ABSENT SetFit: not run: make peers" in capsys.readouterr().out
    for row in rows.values():
        assert 0 <= row["test_accuracy"] <= 1 and row["megabytes"]["high"] > 20 and row["seconds"]["median"] > 0
        assert row["ratios"]["salience train"]["median"] > 0
    assert rows["run_classification.py", ""]["texts"] == 3 * rows["salience train", ""]["texts"]


@pytest.mark.slow
def test_prediction_is_timed_on_whole_texts_and_pieces_and_compared(tmp_path):
    named = ["--contestants", "pipeline, batch 1", "pipeline, batch 32", "TF-IDF + linear SVM"]
    sizes = ["--lengths", "8", "--num_pieces", "6", "--train_flags", '{"num_train_epochs": 1}']
    rows, absent = benchmark(tmp_path, "predict", *named, *sizes, repetitions="2")
    assert not absent and {batches for _, batches in rows} == {"whole", "8 tokens"} and len(rows) == 8
    for (name, batches), row in rows.items():
        assert ("test_accuracy" in row) == (batches == "whole") and ("same" in row) == (not name.startswith("TF"))
    assert rows["pipeline, batch 1", "whole"]["same"] == 1 and rows["salience", "8 tokens"]["texts"] == 6
