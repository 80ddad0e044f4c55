"""Whatever is wrong with a command is answered by one sentence and exit status 2, and no file is changed."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, DebertaConfig, DebertaModel, FNetConfig, FNetModel

from salience.modeling import AttnPoolForSequenceClassification
from salience.train.cli import main
from tests.helpers.paths import ROOT as REPO
from tests.helpers.slow import others_slow


def rows(*labels, text="a text about {label}"):
    return "text,label\n" + "".join(f"{text.format(label=label)},{label}\n" for label in labels * 10)


FILES = {
    "toy.csv": rows("news", "sport"),
    "columns.csv": rows("news", "sport").replace("text,label", "body,label"),
    "empty.csv": "",
    "header.csv": "text,label\n",
    "latin.csv": rows("news", "sport", text="caf\xe9").encode("latin-1"),
    "unseen.csv": rows("news", "chess"),
    "one_class.csv": rows("news"),
    "null.csv": rows("news", "sport") + ",news\n",
    "null.jsonl": '{"text": "a", "label": "news"}\n{"text": null, "label": "sport"}\n',
    "half.jsonl": '{"text": "a", "label": "news"}\n{"text": "a \\ud83d", "label": "sport"}\n',
    "half_label.json": '[{"text": "a", "label": "news"}, {"text": "b", "label": "\\ud83d"}]\n',
    "nan.jsonl": '{"text": "a", "label": "news"}\n{"text": NaN, "label": "sport"}\n',
    "several.csv": rows("news", "news;sport"),
    "numbers.csv": rows(0.5, 2.5),
    "key.yaml": "modle: lstm\n",
    "value.yaml": "num_train_epochs: many\n",
    "broken.yaml": "model: [\n",
    "text.yaml": "only text\n",
    "twice.yaml": "model: lstm\nseed: 1\nseed: 2\n",
    "template.yaml": "output_dir: {{ out }}\n",
    "binary.yaml": b"\xff\xfe\x00",
    "finished/run.json": "{}",
    "finished/model.safetensors": b"weights",
    "unfinished/checkpoint-3/trainer_state.json": '{"global_step": 3}',
    "unfinished/checkpoint-3/started.json": "{}",
    "strange/checkpoint-best/model.safetensors": b"of another program",
    "study/started.json": '{"kind": "study"}',
    "foreign/README.md": "# mine",
    "no_model/notes.txt": "nothing",
}  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, encoder_folder) -> Path:
    """Files of every kind of badness, one good csv and one good encoder."""
    folder = tmp_path_factory.mktemp("workplace")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    shutil.copytree(encoder_folder, folder / "encoder")
    return folder


@pytest.fixture(autouse=True)
def here(workplace, monkeypatch):
    """In the folder with the files, without a Hub and without a token."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub._is_offline_mode", True, raising=False)  # transformers 4
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(workplace / "no_token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield
    shutil.rmtree("out", ignore_errors=True)


def snapshot(folder: Path = Path()) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refusal(command: str, capsys) -> list[str]:
    """What stands on the error output."""
    before = snapshot()
    assert main(command.split()) == 2
    assert snapshot() == before and not Path("out").exists()
    output = capsys.readouterr()
    assert output.out == ""
    return output.err.splitlines()


TO = "--encoder encoder --output_dir out"
TOY = "--train_file toy.csv --output_dir out"
CASES = {
    # data
    f"--train_file toys.csv {TO}": "'toys.csv'; did you mean 'toy.csv'?",
    f"--train_file columns.csv {TO}": "'columns.csv' has no column 'text' (--text_column)",
    f"--train_file toy.csv --label_column topic {TO}": "'toy.csv' has no column 'topic' (--label_column)",
    f"--train_file empty.csv {TO}": "'empty.csv' is empty",
    f"--train_file header.csv {TO}": "'header.csv' has no rows",
    f"--train_file latin.csv {TO}": "'latin.csv' is not valid utf-8",
    f"--train_file toy.csv --test_file unseen.csv {TO}": "row 2 of 'unseen.csv' has the label 'chess'",
    f"--train_file one_class.csv {TO}": "'one_class.csv' has only the label 'news'",
    f"--train_file null.csv {TO}": "'null.csv' has no text in row 21 (ends in line 22)",
    f"--train_file null.jsonl {TO}": "'null.jsonl' has no text in row 2",
    f"--train_file half.jsonl {TO}": "'half.jsonl' row 2 has half a character",
    f"--train_file half_label.json {TO}": "'half_label.json' row 2 has half a character",
    f"--train_file ~nobody/x.csv {TO}": "there is no file or folder '~nobody/x.csv'",
    f"--train_file {'x' * 300}.csv {TO}": "there is no file or folder 'xxx",
    f"--train_file nan.jsonl {TO}": "'nan.jsonl' row 2 has something else than text",
    f"--train_file toy.csv --label_separator= {TO}": "--label_separator is empty",
    f"--train_file toy.csv --split_seed -1 {TO}": "--split_seed -1 must be at least 0",
    f"--train_file toy.csv --encoding hex {TO}": "--encoding: 'hex' is not a text encoding",
    TO: "use either --train_file or --dataset_name",
    # output folder
    "--train_file toy.csv --encoder encoder": "--output_dir is missing",
    "--train_file toy.csv --encoder encoder --output_dir finished": "--output_dir finished holds a finished run",
    "--train_file toy.csv --encoder encoder --output_dir finished --resume_from_checkpoint last": "a finished run",
    "--train_file toy.csv --encoder encoder --output_dir unfinished": "--resume_from_checkpoint last",
    "--train_file toy.csv --encoder encoder --output_dir unfinished --resume_from_checkpoint last": "no model.safetens",
    "--train_file toy.csv --encoder encoder --output_dir strange": "strange holds checkpoint-best, which no run",
    "--train_file toy.csv --encoder encoder --output_dir strange --resume_from_checkpoint last": "checkpoint-best",
    "--train_file toy.csv --encoder encoder --output_dir study": "study holds a study",
    "--train_file toy.csv --encoder encoder --output_dir foreign": "foreign holds README.md",
    "--train_file toy.csv --encoder encoder --output_dir toy.csv": "toy.csv is a file",
    "--train_file toy.csv --encoder encoder --output_dir toy.csv/out": "toy.csv is a file",
    f"{TOY} --encoder encoder --resume_from_checkpoint last": "--output_dir out holds no complete checkpoint",
    f"{TOY} --encoder encoder --resume_from_checkpoint no/where": "--resume_from_checkpoint no/where is no complete",
    # encoder
    TOY: "--model attn_pool needs --encoder",
    f"{TOY} --model sequence_classification": "--model sequence_classification needs --encoder",
    f"{TOY} --encoder no/such": "--encoder no/such is no folder here and can't be loaded from the Hub",
    f"{TOY} --encoder ./no/such": "--encoder ./no/such: there is no such folder",
    f"{TOY} --encoder no_model": "--encoder no_model holds no model",
    f"{TOY} --encoder sklearn": "write --encoder package:sklearn",
    f"{TOY} --encoder package:sklearn": "--encoder package:sklearn holds no model",
    f"{TOY} --encoder package:no_such": "run: pip install no-such",
    f"{TOY} --encoder encoder --encoder_revision main": "--encoder_revision belongs to a Hub id",
    # recipes and flags
    "no.yaml": "recipe no.yaml can't be read: No such file",
    f"key.yaml {TOY}": "recipe key.yaml: unknown key modle; did you mean model?",
    f"value.yaml {TOY}": "--num_train_epochs: invalid float value: 'many'",
    f"broken.yaml {TOY}": "recipe broken.yaml is not valid YAML",
    f"text.yaml {TOY}": "recipe text.yaml must hold lines of the form",
    f"template.yaml {TOY}": "recipe template.yaml is not valid YAML",
    f"binary.yaml {TOY}": "recipe binary.yaml is not valid YAML",
    f"twice.yaml {TOY}": "seed stands twice",
    f"{TOY} --learning_rat 1": "unknown flag --learning_rat; did you mean --learning_rate?",
    f"{TOY} --nonsense=1": "unknown flag --nonsense; see train.py --help",
    f"{TOY} stray": '"stray" is neither a flag nor the value of one',
    f"{TOY} --learning_rate abc": "--learning_rate: invalid float value: 'abc'",
    f"{TOY} --learning_rate": "--learning_rate: expected one argument",
    f"{TOY} --num_train_epochs inf": "--num_train_epochs inf must be a finite number",
    f"{TOY} --logging_steps inf": "--logging_steps inf must be a finite number",
    f"{TOY} --eval_accumulation_steps 0": "--eval_accumulation_steps 0 must be at least 1",
    f"{TOY} --adam_beta1 1.5": "--adam_beta1 1.5 must lie in [0, 1)",
    f"{TOY} --adam_epsilon -1": "--adam_epsilon -1.0 must be at least 0",
    f"{TOY} --model lstm --optim_args nonsense": "--optim_args nonsense can't be made",
    f"{TOY} --model lstm --optim_args foo=bar": "--optim_args foo=bar changes nothing of --optim adamw_torch",
    f"{TOY} --model lstm --optim sgd --optim_args momentum=0.9,foo=1": "--optim_args foo=1 changes nothing of --optim",
    f"{TOY} --model lstm --optim sgd --optim_args weight_decay=0.1": "--optim_args weight_decay=0.1 changes nothing",
    # models
    f"{TOY} --encoder encoder --alpha 1.5": "alpha = 1.5 must lie between 0 and 1",
    f"{TOY} --encoder encoder --query nonsense": 'query = "nonsense" is unknown; choose from cls, learned, self',
    f"{TOY} --encoder encoder --num_heads 3": "num_heads = 3 must divide",
    f"{TOY} --model hierarchical_attn --filter_ratio 0": "filter_ratio = 0.0 must be above 0",
    f"{TOY} --model hierarchical_attn --encoder encoder --filter_ratio 0": "filter_ratio = 0.0 must be above 0",
    f"{TOY} --model hierarchical_attn --encoder encoder --hidden_dim 8": "--hidden_dim is not an option",
    f"{TOY} --model nonsense": "--model nonsense is unknown; choose from attn_pool, hierarchical_attn, lstm",
    f"{TOY} --model lstm --alpha 0.5": "--alpha is not an option of --model lstm",
    # told before data is read
    "--train_file nowhere.csv --model lstm --alpha 0.5 --output_dir out": "--alpha is not an option",
    f"{TOY} --model lstm --encoder encoder": "--model lstm is trained from scratch; leave out --encoder",
    f"{TOY} --model lstm --hidden_dim 65536 --num_layers 100": "GB of memory are free; lower sizes",
    f"{TOY} --model lstm --vocab_size 0": "--vocab_size 0 must be at least 1",
    f"{TOY} --model lstm --min_frequency 1000": "lower --min_frequency",
    # tuning
    f"{TOY} --model lstm --lora true": "--lora needs a pretrained encoder",
    f"{TOY} --model lstm --freeze_encoder true": "--freeze_encoder needs a pretrained encoder",
    f"{TOY} --model lstm --gradient_checkpointing true": "--gradient_checkpointing is for Transformers",
    f"{TOY} --encoder encoder --loss nonsense": "--loss nonsense is unknown; choose from cross_entropy, weighted",
    f"{TOY} --encoder encoder --metric_for_best_model f1": "--metric_for_best_model f1 is unknown; choose from loss",
    f"{TOY} --model sequence_classification --encoder encoder --prior_correction 1": "--prior_correction",
    f"{TOY} --model lstm --prior_correction 1 --balanced_sampling true": "--prior_correction and --balanced_sampling",
    f"{TOY} --model lstm --prior_correction 1 --loss ldam": "--prior_correction and --loss ldam correct the same twice",
    f"{TOY} --encoder encoder --push_to_hub true": "no Hub token",
    f"--train_file several.csv --label_separator ; --balanced_sampling true {TO}": "--balanced_sampling needs exactly",
    f"--train_file numbers.csv --balanced_sampling true {TO}": "--balanced_sampling needs exactly one class",
    f"--train_file numbers.csv --prior_correction 1 {TO}": "--prior_correction needs classes",
    f"--train_file numbers.csv --loss focal {TO}": "--loss focal needs classes",
    f"--train_file numbers.csv --label_smoothing_factor 0.1 {TO}": "--label_smoothing_factor needs classes",
}


@pytest.mark.parametrize("command", CASES)
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_one_sentence_and_nothing_changed(command, capsys):
    (line,) = refusal(command, capsys)
    assert line.startswith("error: ") and CASES[command] in line


def test_no_arguments_at_all_show_the_help(capsys):
    assert main([]) == 2
    assert "--train_file" in capsys.readouterr().out


def broken_encoder(folder: Path, **changes) -> str:
    shutil.copytree("encoder", folder)
    config = json.loads(Path("encoder/config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return str(folder)


ENCODERS = {
    "weights": "model.safetensors is damaged (Error while deserializing header",
    "tokenizer": "has no tokenizer",
    "layers": "lacks weights of its encoder: ",
    "more_layers": "has weights that its config.json has no place for: ",
    "width": "its weights have other shapes than its config.json says",
    "type": "model_type = 'no_such_model' in its config.json",
    "code": "it brings its own code, which is never run",
    **dict.fromkeys(["not_a_number", "infinite"], "has weights that are no finite numbers ("),
    "vocabulary": "its tokenizer gives a text the id ",
}


@pytest.mark.parametrize("model", ["attn_pool", "sequence_classification"])
@pytest.mark.parametrize("broken", ENCODERS)
def test_encoders_that_are_not_whole(broken, model, tmp_path, capsys):
    changes = {
        "layers": {"num_hidden_layers": 3},
        "more_layers": {"num_hidden_layers": 1},
        "width": {"hidden_size": 32},
        "type": {"model_type": "no_such_model"},
        "code": {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.MineConfig"}},
    }
    folder = broken_encoder(tmp_path / broken, **changes.get(broken, {}))
    if broken == "weights":
        Path(folder, "model.safetensors").write_bytes(b"cut short")
    elif broken == "tokenizer":
        for path in {*Path(folder).iterdir()} - {Path(folder, "config.json"), Path(folder, "model.safetensors")}:
            path.unlink()
    elif broken in ("not_a_number", "infinite"):
        weights = load_file(f"{folder}/model.safetensors")
        weights["embeddings.word_embeddings.weight"][7, 3] = math.nan if broken == "not_a_number" else math.inf
        save_file(weights, f"{folder}/model.safetensors", {"format": "pt"})
    elif broken == "vocabulary":
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(["news", "sport", "about"])
        tokenizer.save_pretrained(folder)
    elif broken == "code":
        Path(folder, "configuration_mine.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    lines = refusal(f"{TOY} --encoder {folder} --model {model}", capsys)
    assert lines[-1].startswith("error: ") and folder in lines[-1] and ENCODERS[broken] in lines[-1]
    assert not (tmp_path / "was_run").exists()


def test_a_trained_model_is_no_encoder(tmp_path, capsys):
    AttnPoolForSequenceClassification.from_encoder("encoder").save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained("encoder").save_pretrained(tmp_path)
    capsys.readouterr()
    (line,) = refusal(f"{TOY} --encoder {tmp_path}", capsys)
    assert "is a finished run and no encoder; to go on with it, name it with --model" in line


# What only the loaded encoder can tell: its progress bar stands above the sentence.
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--window_size 100", "window_size = 100 is more than the encoder's 24 positions"),
        ("--max_length 2", "--max_length 2 leaves no word beside 2 special tokens"),
        ("--max_length 1", "--max_length 1 leaves no word beside 2 special tokens"),
        ("--window_size 2", "window_size = 2 leaves no room"),
        ("--window_stride 50", "window_stride = 50 must be between 1 and"),
        ("--lora true --lora_target_modules nonsense", "--lora_target_modules"),
    ],
)
def test_flags_that_the_encoder_has_no_place_for(flags, expected, capsys):
    lines = refusal(f"{TOY} --encoder encoder {flags}", capsys)
    assert lines[-1].startswith("error: ") and expected in lines[-1]


def test_an_encoder_that_cannot_be_held_in_bfloat16(tmp_path, capsys):
    folder = shutil.copytree("encoder", tmp_path / "encoder")
    sizes = {"vocab_size": len(AutoTokenizer.from_pretrained("encoder")), "hidden_size": 8, "num_hidden_layers": 1}
    FNetModel(FNetConfig(**sizes, intermediate_size=8, max_position_embeddings=24)).save_pretrained(folder)
    lines = refusal(f"{TOY} --encoder {folder} --model sequence_classification --bf16 true", capsys)
    assert lines[-1].startswith("error: fnet can't be trained in bfloat16 (")


@pytest.mark.parametrize("model", others_slow(["attn_pool", "sequence_classification"], "attn_pool"))
def test_an_encoder_that_cannot_be_trained_in_bfloat16(model, tmp_path, capsys):
    folder = shutil.copytree("encoder", tmp_path / "encoder")
    vocabulary = len(AutoTokenizer.from_pretrained("encoder"))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    DebertaModel(DebertaConfig(vocab_size=vocabulary, max_position_embeddings=24, **sizes)).save_pretrained(folder)
    lines = refusal(f"{TOY} --encoder {folder} --model {model} --bf16 true", capsys)
    assert lines[-1].startswith("error: deberta can't be trained in bfloat16 (")
    assert lines[-1].endswith("; add --bf16 false")
    assert main(f"{TOY} --encoder {folder} --model {model} --bf16 false --num_train_epochs 1".split()) == 0


@pytest.mark.slow
def test_the_program_itself():
    """It ends in the sentence, and has imported nothing under the general names of our folders."""
    code = f"""import runpy, sys
try:
    runpy.run_path({str(REPO / "train.py")!r}, run_name="__main__")
except SystemExit as end:
    names = "modeling", "configuration", "train", "eval", "model_cards"
    sys.exit(3 if set(names) & set(sys.modules) else end.code)"""
    command = [sys.executable, "-c", code, "--nonsense", "1"]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr == "error: unknown flag --nonsense; see train.py --help\n"
