"""Low-rank adapters (LoRA) on the encoder, with all that lies outside of it trained in full and saved with them."""

import os
from collections.abc import Iterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from peft.utils import ModulesToSaveWrapper, get_peft_model_state_dict, load_peft_weights
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from salience.configuration.errors import UserError
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.hub import find_commit
from salience.configuration.model_files import loading_fault
from salience.model_cards.run_folder import ADAPTER_FOLDER, CARD_FILE
from salience.modeling.encoders import forget_origin, load_encoder, pretrained_encoder
from salience.train.building.encoder_loading import LOADING_ERRORS, encoder_path, load_plain_head
from salience.train.building.fingerprints import weight_bytes

BASE_FINGERPRINT = "base_sha256"
"""Field of an adapter folder's config.json: `base_fingerprint` of the encoder that it was trained on."""


def add_adapters(model: PreTrainedModel, options: TuningArguments) -> PeftModel:
    """Wrap a model for training with adapters.

    Args:
        model: A classifier with a pretrained encoder (`model.encoder`, or the base of a plain head).
        options: Rank, scale, dropout and target layers.

    Raises:
        UserError: There is no encoder, or no layer has a name that was asked for.
    """
    encoder = encoder_of(model)
    outside = list(modules_outside(model, encoder))
    config = LoraConfig(
        # Under this type PEFT also wraps each module named "score", of which the hierarchical model has some inside.
        task_type=TaskType.SEQ_CLS if encoder is model.base_model else None,
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=target_layers(model, encoder, outside, options.lora_target_modules),
        modules_to_save=outside,
    )
    return get_peft_model(model, config)


def trained_model(model: Any) -> PreTrainedModel:
    """The classifier itself, without the wrapper that its adapters are in."""
    return cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)


def beside_adapters(model: Any, name: str, module: nn.Module) -> nn.Module:
    """A module that a model gets after training, as it is saved with the model's adapters, if there are any.

    Args:
        model: With or without adapters.
        name: Of the module in the classifier.
        module: Without weights to train.
    """
    if not isinstance(model, PeftModel):
        return module
    cast(LoraConfig, model.peft_config["default"]).modules_to_save.append(name)  # type: ignore[union-attr]  # is given
    wrapper = ModulesToSaveWrapper(module, "default")
    wrapper.set_adapter("default")
    return wrapper


def encoder_of(model: PreTrainedModel) -> nn.Module:
    """The pretrained encoder inside a classifier.

    Raises:
        UserError: The model is trained from scratch.
    """
    encoder = pretrained_encoder(model)
    if encoder is None:
        raise UserError("--lora and --freeze_encoder need a pretrained encoder (--encoder)")
    return encoder


def modules_outside(module: nn.Module, encoder: nn.Module, prefix: str = "") -> Iterator[str]:
    """Full names of the largest modules with weights that aren't part of the encoder, for PEFT's `modules_to_save`.

    The [CLS] head that a plain head needs in its encoder counts too: many checkpoints lack it, then it is as new as the
    classifier.
    """
    for name, child in module.named_children():
        if child is encoder:
            if getattr(child, "pooler", None) is not None:
                yield f"{prefix}{name}.pooler"
        elif any(part is encoder for part in child.modules()):
            yield from modules_outside(child, encoder, f"{prefix}{name}.")
        elif child.state_dict():  # buffers too
            yield prefix + name


def target_layers(
    model: PreTrainedModel, encoder: nn.Module, outside: list[str], wanted: list[str] | None
) -> list[str]:
    """Full names of the encoder's linear layers that get adapters: all, or those with the wanted names.

    Raises:
        UserError: A wanted name belongs to no linear layer, or there is none at all.
    """
    prefix = next(name for name, module in model.named_modules() if module is encoder)
    apart = tuple(f"{name}." for name in outside)
    layers = [
        f"{prefix}.{name}"
        for name, module in encoder.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and not f"{prefix}.{name}".startswith(apart)
    ]
    for name in wanted or []:
        if not any(f".{layer}".endswith(f".{name}") for layer in layers):
            known = ", ".join(sorted({layer.rpartition(".")[2] for layer in layers}))
            raise UserError(f"--lora_target_modules {name} names no linear layer of the encoder; it has {known}")
    if not layers:
        raise UserError("--lora has nothing to adapt: the encoder has no linear layer")
    chosen = tuple(f".{name}" for name in wanted) if wanted else ("",)
    return sorted(layer for layer in layers if f".{layer}".endswith(chosen))


def save_merged(adapted: PeftModel, folder: Path, base_name: str, base_revision: str | None = None) -> PreTrainedModel:
    """Save the adapters in `folder/adapter`, merge them, save the merged model in `folder`, and return it.

    Args:
        adapted: From `add_adapters`, trained.
        folder: The run's folder.
        base_name: Hub id, folder or `package:NAME` of the encoder, which the adapter folder names as its base.
        base_revision: Commit of that Hub id.
    """
    base = cast(PreTrainedModel, adapted.get_base_model())
    # Only now: with a name, PEFT asks the Hub for the base's vocabulary each time a checkpoint is saved.
    adapted.peft_config["default"].base_model_name_or_path = base_name
    adapted.peft_config["default"].revision = base_revision
    adapted.save_pretrained(str(folder / ADAPTER_FOLDER), save_embedding_layers=False)
    (folder / ADAPTER_FOLDER / CARD_FILE).unlink(missing_ok=True)  # PEFT's; ours is written when there are results
    config = deepcopy(base.config)
    forget_origin(config)  # the adapter's folder gets the configuration's code and no model's
    setattr(config, BASE_FINGERPRINT, base_fingerprint(base))
    config.save_pretrained(folder / ADAPTER_FOLDER)
    merged: PreTrainedModel = adapted.merge_and_unload()  # type: ignore[operator]  # the tuner's, by __getattr__
    merged.save_pretrained(folder)
    return merged


def base_fingerprint(classifier: PreTrainedModel) -> str:
    """SHA-256 of the weights that adapters change or leave as they are, whatever their names and order.

    Args:
        classifier: Perhaps with adapters in it, that are not merged.
    """
    encoder = encoder_of(classifier)
    of_adapters = ("lora_", "modules_to_save.", "original_module.")
    weights = [weight for name, weight in encoder.named_parameters() if not any(part in name for part in of_adapters)]
    return sha256(b"".join(sorted(sha256(weight_bytes(each)).digest() for each in weights))).hexdigest()


def load_adapter(name_or_path: str | Path, revision: str | None = None, encoder: str | None = None) -> PeftModel:
    """The model of an adapter folder: its base encoder, and the adapters and modules saved with them.

    Args:
        name_or_path: Folder or Hub id of an adapter that `train.py --lora true` saved.
        revision: Branch, tag or commit of a Hub id.
        encoder: Hub id, folder or `package:NAME` of the base encoder; None for the one that the adapter names.

    Raises:
        UserError: There is no such adapter or it is damaged, or its base encoder isn't to be had here or is another.
    """
    name = os.path.expanduser(name_or_path)
    try:
        revision = find_commit(name, revision)
        adapter = PeftConfig.from_pretrained(name, revision=revision)
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
        weights = load_peft_weights(name, device="cpu", revision=revision)
    except Exception as error:  # files of others can be broken in any way, and libraries have errors of their own
        raise UserError(f"the adapter {name} can't be loaded: {loading_fault(name, error)}") from error
    expected = config.__dict__.pop(BASE_FINGERPRINT, None)
    base_revision = adapter.revision if encoder is None else None
    encoder = encoder or adapter.base_model_name_or_path
    if encoder is None:
        raise UserError(f"the adapter {name} names no base: give it with encoder=...")
    try:
        model = _load_base(config, encoder, base_revision)
    except (ValueError, *LOADING_ERRORS) as error:
        reason = loading_fault(encoder, error)
        raise UserError(f"the base {encoder} of {name} can't be loaded, name it with encoder=...: {reason}") from error
    try:
        adapted = PeftModel.from_pretrained(model, name, revision=revision).eval()
    except Exception as error:
        raise UserError(f"the weights of the adapter {name} are damaged: {loading_fault(name, error)}") from error
    places = get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()
    if other := places ^ weights.keys():
        what = "lacks weights" if other & places else "has weights without a place"
        raise UserError(f"the adapter {name} {what} ({min(other)}): it is damaged, or of another model")
    if expected not in (None, base_fingerprint(cast(PreTrainedModel, adapted.get_base_model()))):
        raise UserError(f"{encoder} has other weights than the base of {name} had; name that one with encoder=...")
    return adapted


def _load_base(config: PretrainedConfig, encoder: str, revision: str | None) -> PreTrainedModel:
    """An adapter's model without its adapters."""
    path = encoder_path(encoder)
    revision = find_commit(path, revision)
    encoder_config = getattr(config, "encoder_config", None)
    if encoder_config is None:
        return load_plain_head(path, revision, config)
    model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    model.base_model.pretrained = load_encoder(path, encoder_config, revision)
    return model
