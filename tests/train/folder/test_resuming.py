"""A run that was stopped at any moment goes on as it was, or is refused by the flag or file that isn't as it was."""

import shutil
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from salience.configuration import terminal
from salience.configuration.terminal import STOPPED, Terminated
from salience.train import cli
from salience.train.folder.checkpoints import find_best
from salience.train.folder.hub_files import hub_files
from salience.train.folder.marked import SAVING_FOLDER
from salience.train.folder.output import checkpoints, claimed, holds_model
from salience.train.loop.trainer import SalienceTrainer
from salience.train.publish.contents import read_contents
from tests.helpers.slow import others_slow
from tests.helpers.tiny import save_tiny_encoder
from tests.helpers.toy import toy_csv
from tests.helpers.training import COUNTS, QUIET, read, train

TINY = ["--model", "lstm", "--embedding_dim", "8", "--hidden_dim", "8", "--num_train_epochs", "2"]
RESUME = ["--resume_from_checkpoint", "last"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_csv(tmp_path_factory.mktemp("data"))


def stop(folder, data, step, *flags, tiny=TINY):
    """A run that is stopped where it begins a step."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cli, step, interrupt)
        patch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        cli.run_command(["--output_dir", str(folder), *QUIET, *tiny, *data, *flags])
    return folder


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    return stop(tmp_path_factory.mktemp("stopped"), data, "evaluate")


@pytest.fixture
def copy(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


def refusal(folder, flags, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert cli.main(["--output_dir", str(folder), *QUIET, *map(str, flags)]) == 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "step",
    others_slow(
        ["start_or_resume", "evaluate", "save", "read_example", "write_card", "write_json"], "evaluate", "save"
    ),
)
def test_whenever_a_run_is_stopped_it_goes_on_to_a_run_that_can_be_pushed(data, tmp_path, step):
    folder = stop(tmp_path / "run", data, step)
    assert not (folder / "run.json").exists()
    train(folder, *TINY, *data, *([] if step == "start_or_resume" else RESUME))
    assert {"README.md", "run.json", "model.safetensors", "test_results.json"} <= set(read_contents(folder))


NOTHING_KEPT = ["--save_strategy", "no", "--load_best_model_at_end", "false"]
AFTER_SAVING = [("read_example", [*NOTHING_KEPT, *COUNTS]), ("write_card", []), ("write_json", NOTHING_KEPT)]


@pytest.mark.parametrize(("step", "kept"), others_slow(AFTER_SAVING, AFTER_SAVING[0]))
def test_what_follows_the_saving_of_the_model_is_done_without_training(data, tmp_path, capsys, step, kept):
    folder = stop(tmp_path / "run", data, step, *kept)
    weights = (folder / "model.safetensors").read_bytes()
    assert "continue it with --resume_from" in refusal(folder, [*TINY, *data, *kept], capsys)
    assert "another --weight_decay" in refusal(folder, [*TINY, *data, *kept, *RESUME, "--weight_decay", "1"], capsys)
    card = folder / "README.md"
    if edited := card.exists():  # written before the stop, and by hand since
        card.write_text(card.read_text() + "By hand.\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SalienceTrainer, "train", None)
        train(folder, *TINY, *data, *kept, *RESUME)
    assert edited == (step == "write_json") == card.read_text().endswith("By hand.\n")
    whole = train(tmp_path / "whole", *TINY, *data, *kept)
    assert (folder / "model.safetensors").read_bytes() == weights == (whole / "model.safetensors").read_bytes()
    assert sorted(read_contents(folder)) == sorted(read_contents(whole))
    for name in ("config.json", "tokenizer.json", "test_predictions.parquet"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_model_that_is_saved_and_damaged_is_named(data, tmp_path, capsys):
    folder = stop(tmp_path / "run", data, "write_card", *NOTHING_KEPT)
    for name in ("model.safetensors", "config.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:50])
        assert f"{name} is" in refusal(folder, [*TINY, *data, *NOTHING_KEPT, *RESUME], capsys)
        (folder / name).write_bytes(whole)


PHASES = {
    "reading": (cli, "load_splits"),
    "tokenizing": (datasets.Dataset, "map"),
    "a step": (SalienceTrainer, "training_step"),
    "evaluating": (SalienceTrainer, "evaluation_loop"),
    "a checkpoint": (SalienceTrainer, "_save_rng_state"),
    "weights": (SalienceTrainer, "_save"),
    "the tokenizer": (PreTrainedTokenizerBase, "save_pretrained"),
}


@pytest.mark.parametrize("phase", others_slow(PHASES, "a step", "weights"))
def test_a_signal_in_any_phase_is_one_sentence_and_leaves_no_part_of_a_model(
    data, tmp_path, capsys, monkeypatch, phase
):
    stop_by, status = [(KeyboardInterrupt, 130), (Terminated, 143)][list(PHASES).index(phase) % 2]

    def interrupt(*_, **__):
        raise stop_by

    folder = tmp_path / "run"
    monkeypatch.setattr(*PHASES[phase], interrupt)
    monkeypatch.setattr(terminal, "_ignore_ctrl_c", lambda: None)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    capsys.readouterr()
    assert cli.main(["--output_dir", str(folder), *QUIET, *TINY, *data]) == status
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")] == [f"error: {STOPPED}"]
    assert hub_files(folder) == [] and not holds_model(folder)
    monkeypatch.undo()
    train(folder, *TINY, *data, *(RESUME if checkpoints(folder) else []))
    assert read_contents(folder) and not (folder / SAVING_FOLDER).exists()


CHANGES = {
    "--weight_decay": ["0.1"],
    "--learning_rate": ["0.1"],
    "--lr_scheduler_type": ["cosine"],
    "--warmup_steps": ["3"],
    "--max_grad_norm": ["2"],
    "--num_train_epochs": ["1"],
    "--metric_for_best_model": ["accuracy"],
    "--label_smoothing_factor": ["0.1"],
    "--seed": ["7"],
    "--split_seed": ["7"],
    "--max_length": ["5"],
    "--min_frequency": ["1"],
    "--dropout": ["0.4"],
    "--early_stopping_patience": ["1"],
    "--eval_strategy": ["steps", "--save_strategy", "steps", "--eval_steps", "5", "--save_steps", "5"],
    "--optim": ["adafactor"],
    "--per_device_train_batch_size": ["4"],
}


@pytest.mark.parametrize("flag", CHANGES)
def test_a_flag_that_decides_the_result_must_be_what_it_was(copy, data, capsys, flag):
    line = refusal(copy, [*TINY, *data, *RESUME, flag, *CHANGES[flag]], capsys)
    assert "holds a run with another " in line and flag in line
    assert "--resume_from_checkpoint last" in line.split("another", 1)[1]


def test_adapters_go_on_beside_the_weights_that_they_were_trained_beside(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [*data, "--encoder", "encoder", "--lora", "true", "--num_train_epochs", "2"]
    save_tiny_encoder(tmp_path / "encoder")
    folder = stop(tmp_path / "run", flags, "evaluate", tiny=[])
    weights = load_file("encoder/model.safetensors")
    changed = {name: weight + 0.1 for name, weight in weights.items()}
    save_file(changed, "encoder/model.safetensors", {"format": "pt"})
    assert "holds a run with another model: repeat" in refusal(folder, [*flags, *RESUME], capsys)
    save_file(weights, "encoder/model.safetensors", {"format": "pt"})
    assert (train(folder, *flags, *RESUME) / "run.json").exists()


@pytest.mark.parametrize(("flag", "texts"), [("--train_file", "train texts"), ("--test_file", "test texts")])
def test_texts_must_be_what_they_were(copy, data, tmp_path, capsys, flag, texts):
    others = toy_csv(tmp_path, 60, 20)  # files of the same names
    place = data.index(flag) + 1
    other = Path(others[place])
    assert texts in refusal(copy, [*TINY, *data[:place], other, *data[place + 1 :], *RESUME], capsys)
    changed = [*data[:place], other.rename(tmp_path / "others.csv"), *data[place + 1 :]]
    assert f"another {flag}, " in refusal(copy, [*TINY, *changed, *RESUME], capsys)


def test_what_does_not_decide_the_result_may_change(copy, data):
    more = "--logging_steps 3 --save_total_limit 2 --per_device_eval_batch_size 3 --data_name Toy "
    more += "--per_device_train_batch_size 4 --gradient_accumulation_steps 2 --dataloader_num_workers 1"
    train(copy, *TINY, *data, *RESUME, *more.split())
    assert read_contents(copy)


STATE = b'{"global_step": 6, "max_steps": 6, "log_history": [], %s}'
DAMAGES = {
    "optimizer.pt": (None, b"", b"PK no archive"),
    "rng_state.pth": (None, b""),
    "scheduler.pt": (None, b"{}"),
    "model.safetensors": (None, b"", b"\xff" * 100),
    "trainer_state.json": (b'{"global_step": 1}', STATE % b'"unknown": 1', STATE % b'"best_metric": "0.9"'),
    "started.json": (b"", b"[]", b"{}", b'{"kind": "model", "arguments": [], "texts": 7}'),
    "config.json": (b"", b"garbage", b"[]"),
}


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, contents in DAMAGES.items() for content in contents],
    ids=str,
)
def test_a_damaged_checkpoint_is_refused_by_the_name_of_its_file(copy, data, capsys, name, content):
    last = max(copy.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    (last / name).unlink() if content is None else (last / name).write_bytes(content)
    line = refusal(copy, [*TINY, *data, *RESUME], capsys)
    assert last.name in line and name in line and "resume from one before it" in line


def test_a_checkpoint_that_was_cut_or_changed_is_damaged(copy, data, capsys):
    last = max(copy.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    for name in ("optimizer.pt", "model.safetensors"):
        whole = (last / name).read_bytes()
        (last / name).write_bytes(whole[: len(whole) // 2])
        assert f"{name} is damaged" in refusal(copy, [*TINY, *data, *RESUME], capsys)
        (last / name).write_bytes(whole)
    whole = bytearray((last / "optimizer.pt").read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    (last / "optimizer.pt").write_bytes(whole)
    assert "optimizer.pt is damaged" in refusal(copy, [*TINY, *data, *RESUME], capsys)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_with_which_no_training_goes_on_are_damage(copy, data, capsys, number):
    last = max(copy.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    whole = (last / "model.safetensors").read_bytes()
    weights = load_file(last / "model.safetensors")
    name = sorted(weights)[0]
    save_file(weights | {name: torch.full_like(weights[name], number)}, last / "model.safetensors", {"format": "pt"})
    sentence = f"model.safetensors is damaged ({name} holds NaN or infinity): move that checkpoint away"
    assert sentence in refusal(copy, [*TINY, *data, *RESUME], capsys)
    (last / "model.safetensors").write_bytes(whole)
    optimizer = torch.load(last / "optimizer.pt")
    optimizer["state"][0]["exp_avg"][0] = number
    torch.save(optimizer, last / "optimizer.pt")
    sentence = "optimizer.pt is damaged (state.0.exp_avg holds NaN or infinity): move that checkpoint away"
    assert sentence in refusal(copy, [*TINY, *data, *RESUME], capsys)


def test_weights_of_other_shapes_are_refused(copy, data, capsys):
    last = max(copy.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    weights = load_file(last / "model.safetensors")
    name = sorted(weights)[0]
    save_file(weights | {name: torch.ones(3, 3)}, last / "model.safetensors", {"format": "pt"})
    line = refusal(copy, [*TINY, *data, *RESUME], capsys)
    assert f"model.safetensors: {name} has the shape [3, 3]" in line and "resume from one before it" in line


def test_weights_that_lack_are_named(copy, data, capsys):
    last = max(copy.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    weights = load_file(last / "model.safetensors")
    name = sorted(weights)[0]
    del weights[name]
    save_file(weights, last / "model.safetensors", {"format": "pt"})
    assert f"has no weights {name}: " in refusal(copy, [*TINY, *data, *RESUME], capsys)


def test_a_best_checkpoint_that_is_gone_is_refused(copy, data, capsys):
    state = checkpoints(copy)[-1] / "trainer_state.json"
    state.write_text(state.read_text().replace('"best_global_step": ', '"best_global_step": 9'))
    assert "the best so far, is gone: put it back, or start" in refusal(copy, [*TINY, *data, *RESUME], capsys)


def test_the_best_checkpoint_is_found_where_a_run_was_moved(copy, data):
    state = checkpoints(copy)[-1] / "trainer_state.json"
    lines = state.read_text().replace('"log_history": [', '"log_history": [{"grad_norm": NaN, "step": 1},')
    state.write_text(lines)  # as transformers writes what overflowed in half precision
    before = read(state)
    assert Path(before["best_model_checkpoint"]).parent != copy
    train(copy, *TINY, *data, *RESUME)
    after = read(copy / "trainer_state.json")
    assert after["best_global_step"] == before["best_global_step"]
    assert Path(after["best_model_checkpoint"]) == copy / f"checkpoint-{before['best_global_step']}"


def test_a_frozen_encoder_must_be_what_it_was(data, tmp_path, encoder_folder, capsys):
    encoder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    tiny = ["--encoder", str(encoder), "--freeze_encoder", "true", "--num_train_epochs", "2"]
    run = stop(tmp_path / "run", data, "evaluate", tiny=tiny)
    weights = load_file(encoder / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, encoder / "model.safetensors", {"format": "pt"})
    assert "holds a run with another model" in refusal(run, [*tiny, *data, *RESUME], capsys)


HIGHEST = ["--metric_for_best_model", "f1_macro"]


@pytest.fixture(scope="module")
def early(data, tmp_path_factory):
    """A run of which the checkpoint in its middle is left, as its best, so that training goes on from there."""
    return stop(tmp_path_factory.mktemp("early"), data, "evaluate", *HIGHEST)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("content", [{}, [1], {"state": {}, "param_groups": []}], ids=str)
def test_states_of_something_else_are_refused(early, data, tmp_path, capsys, name, content):
    copy = shutil.copytree(early, tmp_path / "run")
    last = max(copy.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    find_best(last)  # is done before the files are looked at that torch has written
    torch.save(content, last / name)
    if name == "scheduler.pt" and isinstance(content, dict):  # torch takes any dictionary
        return
    line = refusal(copy, [*TINY, *data, *HIGHEST, *RESUME], capsys)
    assert last.name in line and "resume from one before it" in line


def test_only_checkpoints_of_the_run_are_gone_on_from(copy, data, tmp_path, capsys):
    last = max(copy.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    shutil.copytree(last, copy / "mine")
    shutil.copytree(last, tmp_path / "elsewhere" / last.name)
    (tmp_path / "file").write_text("")
    named = ["3", last.name, "/nowhere", "False", ".", copy, copy / "mine", tmp_path / "file", last / "config.json"]
    for wanted in named:
        line = refusal(copy, [*TINY, *data, "--resume_from_checkpoint", wanted], capsys)
        assert f"is no complete checkpoint of this run: choose from {last}, or say last" in line
    elsewhere = tmp_path / "elsewhere" / last.name
    assert "lies outside of" in refusal(copy, [*TINY, *data, "--resume_from_checkpoint", elsewhere], capsys)
    last.rename(copy / "checkpoint-best")
    line = refusal(copy, [*TINY, *data, "--resume_from_checkpoint", copy / "checkpoint-best"], capsys)
    assert f"is no complete checkpoint of this run: {copy} holds none, leave it out" in line


@pytest.mark.parametrize("model", ["gat", "hierarchical_attn"])
def test_another_model_is_named_before_its_weights(copy, data, capsys, model):
    line = refusal(copy, ["--model", model, *TINY[2:], *data, *RESUME], capsys)
    assert "holds a run with another --model:" in line


def test_a_run_is_refused_where_another_one_works(copy, data, capsys):
    with claimed(copy, resuming=True):
        sentence = f"another command is working in --output_dir {copy}: wait for its end, or choose another folder"
        assert sentence in refusal(copy, [*TINY, *data, *RESUME], capsys)
        assert sentence in refusal(copy, [*TINY, *data], capsys)
        assert sentence in refusal(copy, ["--train_file", "no.csv"], capsys)  # before anything is read
