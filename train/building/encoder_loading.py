"""Where a pretrained encoder is, whether it fits the flags, and the plain head on it."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from salience.configuration.configuration_salience import SalienceConfig
from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.model_arguments import WINDOW_OPTIONS
from salience.configuration.hub import read_config
from salience.configuration.model_files import loading_fault
from salience.modeling.encoder_checks import model_classes
from salience.modeling.encoders import (
    forget_origin,
    further_layers,
    load_weights,
    pretrained_encoder,
    set_attention_dropout,
)
from salience.modeling.precision import bfloat16_fault
from salience.train.building.memory import refuse_beyond_memory
from salience.train.data.paths import PACKAGE_PREFIX, expand, find_in_package

A_RUN = "a finished run and no encoder; to go on with it, name it with --model and leave out --encoder"
# What a place without an encoder, or a damaged file of weights raises.
LOADING_ERRORS = (OSError, SafetensorError, UnpicklingError, EOFError, ImportError, KeyError)


def encoder_path(name: str) -> str:
    """What transformers shall load for `--encoder`.

    Raises:
        UserError: The package or folder holds no model, or there is no such folder.
    """
    path = expand(name)
    is_hub_id = not path.is_absolute() and not name.startswith(".") and name.count("/") < 2
    if not (is_hub_id or name.startswith(PACKAGE_PREFIX) or path.is_dir()):
        raise UserError(f"--encoder {name}: there is no such folder")
    try:
        return locate_encoder(str(path))
    except ValueError as error:
        raise UserError(f"--encoder {one_line(error)}") from error


def public_name(name: str | None) -> str | None:
    """What others may know of a model's name: a Hub id or package as it is, of a folder its name only."""
    return Path(name).resolve().name if name and Path(name).is_dir() else name


def locate_encoder(name: str) -> str:
    """What transformers shall load: the model's folder inside a package or folder, or a Hub id as it is.

    Args:
        name: Hub id, folder, or `package:NAME`, `package:NAME/sub/folder`.

    Raises:
        ValueError: The package or folder holds no model, or several.
    """
    if name.startswith(PACKAGE_PREFIX):
        folder = find_in_package(name)
    elif Path(name).is_dir():
        folder = Path(name)
    else:
        return name
    if (folder / "config.json").is_file():
        return str(folder)
    found = sorted(path.parent for path in folder.rglob("config.json") if list(path.parent.glob("*.safetensors")))
    if len(found) != 1:
        what = "no model (config.json with .safetensors)" if not found else f"{len(found)} models; name one's folder"
        raise ValueError(f"{name} holds {what}")
    return str(found[0])


def no_encoder(name: str, error: Exception) -> str:
    """One sentence for an encoder that can't be loaded."""
    reason = loading_fault(locate_encoder(str(expand(name))), error)
    if "trust_remote_code" in str(error):
        reason = "it brings its own code, which is never run; choose one that transformers knows"
    if expand(name).is_dir() or name.startswith(PACKAGE_PREFIX):
        return f"--encoder {name} can't be loaded: {reason}"
    module = name.replace("-", "_")
    if module.isidentifier() and find_spec(module):
        return f"--encoder {name} is no Hub id; for the installed package write --encoder package:{module}"
    return f"--encoder {name} is no folder here and can't be loaded from the Hub: {reason}"


def misfit(name: str, error: RuntimeError) -> RuntimeError | UserError:
    """What to raise where weights were loaded: a sentence for a damaged file, else the error itself."""
    if "PytorchStreamReader" in str(error) or "magic number" in str(error):
        return UserError(no_encoder(name, UnpicklingError()))
    return error


def check_options(
    model_class: type[Any], path: str, name: str, revision: str | None, options: Mapping[str, Any]
) -> None:
    """Let the model look at the flags before gigabytes of weights are loaded.

    Args:
        model_class: One of our models on an encoder.
        path: Folder or Hub id of the encoder.
        name: What `--encoder` says.
        revision: Branch, tag or commit of a Hub id.
        options: Fields of the model's configuration.

    Raises:
        UserError: There is no encoder of texts, or the model would fill the memory.
        ValueError: A flag is out of its range.
    """
    try:
        read_config(path, revision)
        encoder_config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(no_encoder(name, error)) from error
    if isinstance(encoder_config, SalienceConfig):
        raise UserError(f"--encoder {name} is {A_RUN}")
    if not hasattr(encoder_config, "hidden_size"):
        raise UserError(f"--encoder {name} is a {encoder_config.model_type} model and no plain encoder of texts")
    # How wide a window may be is known only with the weights.
    known = {name: options[name] for name in options.keys() - WINDOW_OPTIONS}
    with torch.device("meta"):
        model = model_class(model_class.config_class(encoder_config=encoder_config, **known))
    refuse_beyond_memory(model)


def plain_head_config(
    path: str, revision: str | None, attention_dropout: float | None, **options: Any
) -> PretrainedConfig:
    """The configuration of `load_plain_head`.

    Args:
        path: Folder or Hub id of the encoder.
        revision: Branch, tag or commit of a Hub id.
        attention_dropout: See `set_attention_dropout`.
        options: Fields of it.
    """
    read_config(path, revision)
    config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False, **options)
    classes = model_classes(config, AutoModelForSequenceClassification)
    if classes:  # an architecture that has none is refused where it is loaded
        set_attention_dropout(config, classes, attention_dropout)
    return config


def load_plain_head(path: str, revision: str | None, config: PretrainedConfig) -> PreTrainedModel:
    """The classifier that transformers has for a pretrained encoder, in float32.

    Args:
        path: Folder or Hub id of the encoder.
        revision: Branch, tag or commit of a Hub id.
        config: Its configuration.

    Raises:
        ValueError: The checkpoint lacks weights of the encoder, or is a model of ours; or see `load_weights`.
    """
    model, missing, unexpected = load_weights(
        AutoModelForSequenceClassification, path, config=config, revision=revision, dtype="float32"
    )
    if isinstance(model.config, SalienceConfig):
        raise ValueError(f"it is {A_RUN}")
    inside = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
    model.has_fresh_head = len(missing) > len(inside)  # type: ignore[assignment]  # asked by `answer_in_labels`
    if lacking := [name for name in inside if ".pooler." not in name]:
        raise ValueError(f"{path} lacks weights of its encoder: {', '.join(lacking[:5])}")
    if dropped := further_layers(model, unexpected):
        raise ValueError(f"{path} has weights that its config.json has no place for: {dropped[0]}")
    forget_origin(model.config)
    return model


def refuse_bfloat16(model: PreTrainedModel) -> None:
    """Look whether the encoder of a classifier can be trained in bfloat16, and be read so in evaluations.

    Raises:
        UserError: It can't.
    """
    encoder = pretrained_encoder(model)
    for held in (False, True):
        if encoder is not None and (fault := bfloat16_fault(encoder, autocast=True, held=held)):
            name = encoder.config.model_type
            raise UserError(f"{name} can't be trained in bfloat16 ({one_line(fault)}); add --bf16 false")
