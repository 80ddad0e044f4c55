"""LoRA runs: what is trained, what the adapter folder holds, and that it agrees with the merged model."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from salience.configuration.errors import UserError
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.train import cli
from salience.train.building.lora import add_adapters, encoder_of, load_adapter
from tests.helpers.blocks import usage_blocks
from tests.helpers.hub_server import Hub
from tests.helpers.hub_store import MAIN, Repo
from tests.helpers.paths import TRAIN
from tests.helpers.tiny import tiny_model
from tests.helpers.toy import clean_environment, toy_csv, toy_texts
from tests.helpers.training import QUIET

FLAGS = [
    *QUIET, "--lora", "true", "--learning_rate", "5e-3",
    "--num_train_epochs", "2",
]  # fmt: skip
MODELS = {
    "attn_pool": ["--model", "attn_pool", "--query", "learned", "--learn_alpha", "true", "--projection_dim", "8"],
    "hierarchical_attn": ["--model", "hierarchical_attn", "--num_heads", "2"],
    "sequence_classification": ["--model", "sequence_classification"],
}
TEXTS = [text for text, _ in toy_texts(12, seed=1)]


def run(folder, data, encoder, *flags):
    flags = [*data, "--encoder", str(encoder), "--output_dir", str(folder), *FLAGS, *map(str, flags)]
    return cli.main(flags)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_csv(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory, data, encoder_folder):
    """The folder of a LoRA run of each family, and the encoder that it began with."""
    folder = tmp_path_factory.mktemp("lora") / request.param
    assert run(folder, data, encoder_folder, *MODELS[request.param]) == 0
    return folder, encoder_folder


def logits_of(model, tokenizer, texts=TEXTS):
    inputs = tokenizer(texts, padding=True, truncation=tokenizer.model_max_length < 1000, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**inputs).logits


def test_adapter_and_merged_model_agree(trained):
    folder, _ = trained
    merged = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    adapted = load_adapter(folder / "adapter")
    logits = logits_of(adapted, AutoTokenizer.from_pretrained(folder / "adapter"))
    assert_close(logits, logits_of(merged, tokenizer), atol=1e-5, rtol=0)
    assert torch.equal(logits.argmax(1), logits_of(merged, tokenizer).argmax(1))
    assert merged.config.id2label == adapted.get_base_model().config.id2label
    assert not any("lora" in name for name in merged.state_dict())


def _without(weights):
    weights.pop(next(key for key in weights if ".classifier." in key or ".lora_A." in key))


def _renamed(weights):
    weights["foo"] = weights.pop(next(key for key in weights if ".lora_B." in key))


def _reshaped(weights):
    name = next(key for key in weights if ".lora_A." in key)
    weights[name] = weights[name][:, :-1].contiguous()


def _further(weights):
    weights["foo"] = torch.zeros(2)


@pytest.mark.parametrize("damage", [_without, _renamed, _reshaped, _further, "cut", "empty", "no json", "{}"])
def test_a_damaged_adapter_is_one_sentence(trained, tmp_path, damage):
    adapter = shutil.copytree(trained[0] / "adapter", tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    if callable(damage):
        weights = load_file(file)
        damage(weights)
        save_file(weights, file)
    elif damage in ("cut", "empty"):
        file.write_bytes(file.read_bytes()[: -50 if damage == "cut" else 0])
    else:
        (adapter / "adapter_config.json").write_text(damage)
    with pytest.raises(UserError, match=f"the adapter {adapter} ") as error:
        load_adapter(adapter)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["weights", "name"])
def test_another_base_than_that_of_the_training_is_refused(trained, tmp_path, change):
    """Whatever it is called: the same weights in another place are the same base."""
    folder, encoder = trained
    other = shutil.copytree(encoder, tmp_path / "encoder")
    if change == "name":
        expected = logits_of(load_adapter(folder / "adapter"), AutoTokenizer.from_pretrained(folder))
        found = load_adapter(folder / "adapter", encoder=str(other))
        assert torch.equal(logits_of(found, AutoTokenizer.from_pretrained(folder)), expected)
        assert "base_sha256" not in found.get_base_model().config.to_dict()
        return
    weights = load_file(other / "model.safetensors")
    name = next(key for key in weights if key.endswith("query.weight"))
    weights[name] = weights[name] + 0.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{other} has other weights than the base of {folder / 'adapter'} had"):
        load_adapter(folder / "adapter", encoder=str(other))
    (other / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=f"the base {other} of .* can't be loaded, name it with encoder=..."):
        load_adapter(folder / "adapter", encoder=str(other))


def test_everything_outside_of_the_encoder_is_saved_with_the_adapters(trained):
    folder, encoder = trained
    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    merged = AutoModelForSequenceClassification.from_pretrained(folder)
    inside = {id(parameter) for parameter in encoder_of(merged).parameters()}
    outside = {name for name, parameter in merged.named_parameters() if id(parameter) not in inside}
    assert outside
    for name in outside:
        key = next(key for key in saved if key.endswith(f".{name}") or key.endswith(f"model.{name}"))
        assert torch.equal(saved[key], merged.state_dict()[name]), name
    in_encoder = [key for key in saved if "lora_" in key]
    assert in_encoder and all(saved[key].shape[0] == 8 for key in in_encoder if "lora_A" in key)
    assert any(saved[key].abs().sum() > 0 for key in in_encoder if "lora_B" in key), "the adapters were trained"
    before = load_file(encoder / "model.safetensors")
    frozen = [key for key in before if "LayerNorm" in key or "word_embeddings" in key]
    after = merged.state_dict()
    pairs = [(before[key], after[other]) for key in frozen for other in after if other.endswith(key)]
    assert len(pairs) == len(frozen) and all(torch.equal(one, other) for one, other in pairs)


def test_the_adapter_folder_names_its_base_and_describes_itself(trained):
    folder, encoder = trained
    adapter = folder / "adapter"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(encoder)
    card = ModelCard.load(adapter / "README.md")
    assert card.data.library_name == "peft" and "lora" in card.data.tags
    results = json.loads((folder / "test_results.json").read_text())
    scores = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert scores["Accuracy"] == results["test_accuracy"]
    assert ModelCard.load(folder / "README.md").data.library_name == "transformers"
    model = json.loads((folder / "run.json").read_text())["model"]
    assert 0 < model["trainable_parameters"] < model["parameters"]
    assert not [path for path in folder.rglob("*.bin") if "checkpoint" not in str(path)]


PUSH = """
import sys
from huggingface_hub import HfApi
from salience.train import push_folder
api = HfApi()
api.create_repo("alice/encoder")
api.upload_folder(repo_id="alice/encoder", folder_path=sys.argv[1])
push_folder(sys.argv[2], "alice/adapter")
"""


@pytest.mark.parametrize("name", ["attn_pool", pytest.param("sequence_classification", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_an_adapter_of_its_own_on_the_hub_is_loaded_by_its_card(name, data, tmp_path, encoder_folder):
    folder = tmp_path / "run"
    assert run(folder, data, encoder_folder, *MODELS[name], "--base_model", "alice/encoder") == 0
    with Hub() as hub:
        environment = clean_environment(tmp_path / "home", HF_ENDPOINT=hub.url, HF_TOKEN="hf_writer")

        def python(*command):
            pipes = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 120}
            done = subprocess.run([sys.executable, *map(str, command)], env=environment, cwd=tmp_path, **pipes)
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        python("-c", PUSH, encoder_folder, folder / "adapter")
        files = hub.repos["alice/adapter"].files("main")
        assert {"adapter_config.json", "adapter_model.safetensors", "config.json", "tokenizer.json"} <= set(files)
        assert "model.safetensors" not in files
        assert json.loads(files["adapter_config.json"].data)["base_model_name_or_path"] == "alice/encoder"
        card = files["README.md"].data.decode()
        assert ModelCard(card).data.base_model == "alice/encoder"
        text = "the bank raised its profit"
        blocks = "\n".join(usage_blocks(card)).replace("The text that you want to classify.", text)
        show = f"import json\nprint(json.dumps(adapted(**tokenizer({text!r}, return_tensors='pt')).logits[0].tolist()))"
        found = json.loads(python("-c", f"{blocks}\n{show}").splitlines()[-1])
    merged = AutoModelForSequenceClassification.from_pretrained(folder)
    expected = logits_of(merged, AutoTokenizer.from_pretrained(folder), [text])[0]
    assert_close(torch.tensor(found), expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_an_adapter_on_an_encoder_of_the_hub_names_its_commit(data, tmp_path, encoder_folder):
    folder = tmp_path / "run"
    with Hub() as hub:
        hub.repos["alice/encoder"] = Repo("alice/encoder", private=False)
        hub.repos["alice/encoder"].commit(MAIN, {}, "initial commit")
        files = {file.name: file.read_bytes() for file in encoder_folder.iterdir()}
        commit = hub.add_commit("alice/encoder", files, "the encoder")
        flags = [*data, "--encoder", "alice/encoder", "--output_dir", str(folder), *FLAGS]
        flags += [*MODELS["sequence_classification"], "--push_to_hub", "true", "--hub_model_id", "alice/news"]
        environment = clean_environment(tmp_path / "home", HF_ENDPOINT=hub.url, HF_TOKEN="hf_writer")
        done = subprocess.run(
            [sys.executable, TRAIN, *flags], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
        pushed = hub.repos["alice/news"].files("main")
    adapter = json.loads(pushed["adapter/adapter_config.json"].data)
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("alice/encoder", commit)
    assert f'BASE_REVISION = "{commit}"' in pushed["adapter/README.md"].data.decode()
    assert f'BASE_REVISION = "{commit}"' in pushed["README.md"].data.decode()


@pytest.mark.slow
def test_a_killed_run_is_resumed(trained, data, tmp_path):
    """From the checkpoint in the middle to the same weights; dropout is on."""
    folder, encoder = trained
    flags = MODELS[folder.name]
    steps = ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", 3, "--eval_steps", 3]
    steps += ["--save_total_limit", 9]
    assert run(tmp_path / "whole", data, encoder, *flags, *steps) == 0
    (tmp_path / "resumed").mkdir()
    for name in ("checkpoint-3", "checkpoint-6"):  # the first may be the best so far
        shutil.copytree(tmp_path / "whole" / name, tmp_path / "resumed" / name)
    shutil.copy(tmp_path / "whole" / "started.json", tmp_path / "resumed")
    assert run(tmp_path / "resumed", data, encoder, *flags, *steps, "--resume_from_checkpoint", "last") == 0
    state = [json.loads((tmp_path / name / "trainer_state.json").read_text()) for name in ("whole", "resumed")]
    assert state[0]["global_step"] == state[1]["global_step"] == 12
    for name in ("checkpoint-12/adapter_model.safetensors",):
        whole, resumed = load_file(tmp_path / "whole" / name), load_file(tmp_path / "resumed" / name)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_target_modules_by_name():
    model = add_adapters(tiny_model("attn_pool"), TuningArguments(lora=True, lora_target_modules=["query", "value"]))
    adapted = {name.rpartition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert len(adapted) == 4 and all(name.endswith((".query", ".value")) for name in adapted)
    assert all("pretrained" in name for name in adapted), "the pooler's own query gets no adapter"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--lora_target_modules", "q_proj"], "--lora_target_modules q_proj names no linear layer of the encoder"),
        (["--freeze_encoder", "true"], "--lora and --freeze_encoder exclude each other"),
        (["--lora_r", "0"], "--lora_r 0 must be at least 1"),
    ],
)
def test_refusals(data, encoder_folder, tmp_path, capsys, flags, sentence):
    assert run(tmp_path / "run", data, encoder_folder, *flags) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lstm", "hierarchical_attn", "transformer"])
def test_a_model_from_scratch_has_nothing_to_adapt(data, tmp_path, capsys, name):
    assert cli.main([*data, "--model", name, "--output_dir", str(tmp_path / "run"), *FLAGS]) == 2
    assert "--lora needs a pretrained encoder" in capsys.readouterr().err
