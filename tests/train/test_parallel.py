"""Runs of several processes, and runs that were killed: they end as if nothing had been different."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file

from salience.train import cli
from tests.helpers.paths import TRAIN
from tests.helpers.tiny import save_tiny_encoder
from tests.helpers.toy import clean_environment, toy_csv
from tests.helpers.training import COUNTS, QUIET

CPU_2 = TRAIN.parent / "configuration" / "recipes" / "accelerate" / "cpu_2.yaml"
FLAGS = [
    *QUIET, *COUNTS, "--learning_rate", "5e-3",
    "--logging_steps", "1",
]  # fmt: skip
SCRATCH = ["--embedding_dim", "12", "--hidden_dim", "16"]
MODELS = {
    "attn_pool": ["--model", "attn_pool", "--encoder", "ENCODER"],
    "hierarchical_attn": ["--model", "hierarchical_attn", *SCRATCH, "--num_heads", "2"],
    "lstm": ["--model", "lstm", *SCRATCH],
    "lora": ["--model", "attn_pool", "--encoder", "ENCODER", "--lora", "true", "--lora_dropout", "0"],
}
NO_DROPOUT = {"hierarchical_attn": ["--dropout", "0"], "lstm": ["--dropout", "0"]}
# Sums over two halves of a batch are rounded otherwise than over the whole, and each step starts from the last one's.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Flags of 42 training texts: neither whole batches nor an equal share for each process at the end of an epoch."""
    return toy_csv(tmp_path_factory.mktemp("data"), num_train=50, num_test=13)


@pytest.fixture(scope="module")
def steady_encoder(tmp_path_factory):
    """The tiny encoder without dropout, which two processes draw otherwise than one."""
    folder = save_tiny_encoder(tmp_path_factory.mktemp("steady"))
    config = json.loads((folder / "config.json").read_text())
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config | rates))
    return folder


def flags_of(name, encoder, folder, *more):
    flags = ["--output_dir", folder, *FLAGS, *MODELS[name], *more]
    return [str(encoder) if flag == "ENCODER" else str(flag) for flag in flags]


def start(command, tmp_path):
    with open(tmp_path / "log.txt", "ab") as log:
        environment = clean_environment(tmp_path / "home", HF_HUB_OFFLINE="1")
        pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        return subprocess.Popen([sys.executable, *map(str, command)], env=environment, cwd=tmp_path, **pipes)


def finish(process, tmp_path, status=0):
    try:
        assert process.wait(timeout=180) == status, (tmp_path / "log.txt").read_text()[-3000:]
    finally:
        kill(process)


def kill(process):
    """SIGKILL for the process and all that it started: a launcher's workers would go on without it."""
    if process.poll() is None:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.send_signal(signal.SIGKILL)
    process.wait()


def launch(flags, tmp_path):
    """train.py in two processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    accelerate = ["-m", "accelerate.commands.launch", "--config_file", CPU_2, "--main_process_port", port]
    return start([*accelerate, TRAIN, *flags], tmp_path)


def read(folder, name):
    return json.loads((folder / name).read_text())


def curve(folder, key="loss"):
    return [entry[key] for entry in read(folder, "trainer_state.json")["log_history"] if key in entry]


def same_weights(one, other):
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "batch_size", "more"),
    [
        ("attn_pool", 8, []),
        pytest.param("attn_pool", 4, ["--gradient_accumulation_steps", "2"], marks=pytest.mark.slow),
        pytest.param("hierarchical_attn", 4, ["--gradient_accumulation_steps", "2"], marks=pytest.mark.slow),
        pytest.param("lstm", 8, ["--loss", "weighted", "--length_grouped", "false"], marks=pytest.mark.slow),
        pytest.param("lora", 8, [], marks=pytest.mark.slow),
        pytest.param("attn_pool", 8, ["--max_tokens_per_pass", "90"], id="passes"),
    ],
)
@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(data, steady_encoder, tmp_path, name, batch_size, more):
    more = [*data, *more, *NO_DROPOUT.get(name, ["--classifier_dropout", "0"]), "--num_train_epochs", "3"]
    one, two = tmp_path / "one", tmp_path / "two"
    finish(
        launch(flags_of(name, steady_encoder, two, *more, "--per_device_train_batch_size", batch_size), tmp_path),
        tmp_path,
    )
    assert cli.main(flags_of(name, steady_encoder, one, *more, "--per_device_train_batch_size", 2 * batch_size)) == 0

    assert len(curve(one)) == 9
    assert curve(two) == pytest.approx(curve(one), rel=TOLERANCE)
    assert curve(two, "grad_norm") == pytest.approx(curve(one, "grad_norm"), rel=10 * TOLERANCE)
    assert curve(two, "eval_loss") == pytest.approx(curve(one, "eval_loss"), rel=TOLERANCE)
    results = [read(folder, "test_results.json") for folder in (one, two)]
    scores = [key for key in results[0] if "runtime" not in key and "per_second" not in key and key != "test_loss"]
    assert {key: results[1][key] for key in scores} == {key: results[0][key] for key in scores}
    assert results[1]["test_loss"] == pytest.approx(results[0]["test_loss"], rel=TOLERANCE)
    temperatures = [read(folder, "eval_results.json")["eval_temperature"] for folder in (one, two)]
    assert temperatures[1] == pytest.approx(temperatures[0], rel=TOLERANCE)
    assert temperatures == [read(folder, "config.json")["logit_temperature"] for folder in (one, two)]
    ngrams = [read(folder, "eval_results.json").get("eval_ngrams") for folder in (one, two)]
    for first, second in zip(*(each.items() if each else () for each in ngrams), strict=True):
        assert second == (first if first[0] == "kind" else (first[0], pytest.approx(first[1], rel=0.01)))
    weights, others = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert all(torch.allclose(weights[key], others[key], atol=1e-3) for key in weights)


STEPS = ["--save_strategy", "steps", "--save_steps", "7", "--eval_strategy", "steps", "--eval_steps", "7"]
STEPS += ["--load_best_model_at_end", "false", "--num_train_epochs", "16"]  # 96 steps; epochs have 6


def killed_in_the_middle(process, folder):
    """SIGKILL as soon as there are two checkpoints; returns the last complete one."""
    try:
        deadline = time.monotonic() + 120
        while len(complete := sorted(folder.glob("checkpoint-*/trainer_state.json"), key=os.path.getmtime)) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        kill(process)
    assert not (folder / "config.json").exists(), "the run had ended before it was killed"
    return complete[-1].parent


def leave_a_torn_checkpoint(folder, last):
    """As if the kill had come while the next checkpoint was being written."""
    torn = folder / f"checkpoint-{int(last.name.removeprefix('checkpoint-')) + 7}"
    shutil.rmtree(torn, ignore_errors=True)
    torn.mkdir()
    (torn / "model.safetensors").write_bytes((last / "model.safetensors").read_bytes()[:1000])
    shutil.copy(last / "config.json", torn)
    shutil.copy(last / "started.json", torn)


@pytest.mark.parametrize("name", ["attn_pool", pytest.param("hierarchical_attn", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(data, encoder_folder, tmp_path, name):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = [*data, *STEPS, "--save_total_limit", "3"]
    process = start([TRAIN, *flags_of(name, encoder_folder, killed, *more)], tmp_path)
    leave_a_torn_checkpoint(killed, killed_in_the_middle(process, killed))
    assert cli.main(flags_of(name, encoder_folder, killed, *more, "--resume_from_checkpoint", "last")) == 0
    assert cli.main(flags_of(name, encoder_folder, whole, *more)) == 0
    assert same_weights(whole, killed)
    assert curve(whole) == curve(killed) and len(curve(whole)) == 96
    results = [read(folder, "test_results.json")["test_loss"] for folder in (whole, killed)]
    assert results[0] == results[1]


@pytest.mark.slow
def test_two_killed_processes_too(data, encoder_folder, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = [*data, *STEPS, "--save_total_limit", "3", "--per_device_train_batch_size", "4"]
    flags = flags_of("attn_pool", encoder_folder, killed, *more)
    process = launch(flags, tmp_path)
    leave_a_torn_checkpoint(killed, killed_in_the_middle(process, killed))
    finish(launch([*flags, "--resume_from_checkpoint", "last"], tmp_path), tmp_path)
    finish(launch(flags_of("attn_pool", encoder_folder, whole, *more), tmp_path), tmp_path)
    assert same_weights(whole, killed)
    assert curve(whole) == curve(killed)


def resume(name, encoder, checkpoint, folder, *more):
    """A run that goes on from a copy of a checkpoint and of those before it, one of which may be the best so far."""
    steps = {place: int(place.name.partition("-")[2]) for place in checkpoint.parent.glob("checkpoint-*")}
    for place in (place for place, step in steps.items() if step <= steps[checkpoint]):
        shutil.copytree(place, folder / place.name)
    assert cli.main(flags_of(name, encoder, folder, *more, "--resume_from_checkpoint", "last")) == 0
    return folder


@pytest.mark.slow
def test_an_epochs_end_and_the_last_step_are_resumed_too(data, encoder_folder, tmp_path):
    more = [*data, "--num_train_epochs", "3", "--save_total_limit", "9"]
    whole = tmp_path / "whole"
    assert cli.main(flags_of("attn_pool", encoder_folder, whole, *more)) == 0
    for step in (6, 18):
        resumed = resume("attn_pool", encoder_folder, whole / f"checkpoint-{step}", tmp_path / str(step), *more)
        assert same_weights(whole, resumed)


@pytest.mark.slow
def test_patience_goes_on_where_it_was(data, encoder_folder, tmp_path):
    more = [*data, "--learning_rate", "0", "--early_stopping_patience", "4", "--num_train_epochs", "9"]
    more += ["--save_total_limit", "9"]
    whole = tmp_path / "whole"
    assert cli.main(flags_of("lstm", encoder_folder, whole, *more)) == 0
    resumed = resume("lstm", encoder_folder, whole / "checkpoint-18", tmp_path / "resumed", *more)
    epochs = [read(folder, "train_results.json")["epoch"] for folder in (whole, resumed)]
    assert epochs == [5, 5]


@pytest.mark.slow
def test_bad_input_stops_both_processes(data, tmp_path):
    process = launch(flags_of("attn_pool", tmp_path / "nowhere", tmp_path / "run", *data), tmp_path)
    with pytest.raises(AssertionError):
        finish(process, tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert "error: --encoder" in log and not (tmp_path / "run").exists()
