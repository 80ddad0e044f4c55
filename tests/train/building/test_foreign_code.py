"""What an encoder says of its own code never reaches the folder of a model that was trained on it."""

import json
import shutil

import pytest
import torch

from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.train.building.build import build_model
from salience.train.building.lora import add_adapters, save_merged
from salience.train.publish.remote_code import code_files

FOREIGN = {
    "auto_map": {
        "AutoConfig": "mallory/tools--configuration_x.X",
        "AutoModel": "modeling_x.X",
        "AutoModelForSequenceClassification": "modeling_x.Y",
        "AutoTokenizer": ["mallory/tools--tokenizer_x.T", None],
    },
    "custom_pipelines": {"text-classification": {"impl": "pipeline_x.P", "pt": ["AutoModel"]}},
}
MODELS = {
    "attn_pool": [],
    "hierarchical_attn": ["--num_heads", "2"],
    "sequence_classification": [],
}


@pytest.fixture(scope="module")
def encoder(encoder_folder, tmp_path_factory):
    """An encoder of a known type whose repository brings code, which transformers doesn't need."""
    folder = tmp_path_factory.mktemp("foreign") / "encoder"
    shutil.copytree(encoder_folder, folder)
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | FOREIGN))
    return folder


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", MODELS)
def test_foreign_code_is_left_behind(encoder, tmp_path, family, lora):
    flags = ["--output_dir", "out", "--model", family, "--encoder", str(encoder), *MODELS[family]]
    torch.manual_seed(0)
    problem = "single_label_classification"
    model, tokenizer = build_model(RecipeParser().parse(flags)[0], [], ["a", "b"], problem)
    folders = [tmp_path]
    if lora:
        save_merged(add_adapters(model, TuningArguments(lora=True)), tmp_path, "ann/encoder")
        folders.append(tmp_path / "adapter")
    else:
        model.save_pretrained(tmp_path)
    for folder in folders:
        tokenizer.save_pretrained(folder)
        for name in ("config.json", "tokenizer_config.json"):
            text = (folder / name).read_text()
            assert not any(word in text for word in ("mallory", "_x.", str(encoder)))
        # What is left names our own code, and it is there.
        assert bool(code_files(folder)) == (family != "sequence_classification")
