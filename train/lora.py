"""Low-rank adapters (LoRA) on the encoder, with all that lies outside of it trained in full and saved with them."""

from pathlib import Path

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from salience.configuration.tuning_arguments import TuningArguments
from salience.modeling.salience_base import load_encoder

from .build import encoder_path
from .errors import UserError

ADAPTER_FOLDER = "adapter"


def add_adapters(model: PreTrainedModel, options: TuningArguments, encoder_name: str) -> PeftModel:
    """Wrap a model for training with adapters.

    Args:
        model: A classifier with a pretrained encoder (`model.base_model.pretrained`, or the base of a plain head).
        options: Rank, scale, dropout and target layers.
        encoder_name: What `--encoder` said; the adapter folder names it as its base.

    Raises:
        UserError: There is no encoder, or no layer has a name that was asked for.
    """
    encoder = encoder_of(model)
    prefix = next(name for name, module in model.named_modules() if module is encoder)
    layers = {f"{prefix}.{name}" for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
    if options.lora_target_modules:
        wanted = tuple(f".{name}" for name in options.lora_target_modules)
        layers = {name for name in layers if name.endswith(wanted)}
    if not layers:
        raise UserError(f"--lora_target_modules {options.lora_target_modules} names no linear layer of the encoder")
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=sorted(layers),
        modules_to_save=modules_outside(model, encoder),
        base_model_name_or_path=encoder_name,
    )
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = encoder_name
    return adapted


def encoder_of(model: PreTrainedModel) -> nn.Module:
    """The pretrained encoder inside a classifier.

    Raises:
        UserError: The model is trained from scratch.
    """
    encoder = model.encoder if hasattr(type(model), "encoder") else model.base_model
    if encoder is None or encoder is model:
        raise UserError("--lora and --freeze_encoder need a model with a pretrained encoder (--encoder)")
    return encoder


def modules_outside(model: PreTrainedModel, encoder: nn.Module) -> list[str]:
    """Names of the modules with weights that are not part of the encoder, for PEFT's `modules_to_save`."""
    outside = {}
    for parent in {model, model.base_model} - {encoder}:
        outside |= dict(parent.named_children())
    inner = {encoder, model.base_model}
    return sorted(name for name, module in outside.items() if module not in inner and any(module.parameters()))


def save_merged(adapted: PeftModel, folder: Path) -> PreTrainedModel:
    """Save the adapters in `folder/adapter`, merge them, save the merged model in `folder`, and return it."""
    adapted.save_pretrained(folder / ADAPTER_FOLDER)
    adapted.base_model.model.config.save_pretrained(folder / ADAPTER_FOLDER)
    merged = adapted.merge_and_unload()
    merged.save_pretrained(folder)
    return merged


def load_adapter(name_or_path: str, revision: str | None = None) -> PeftModel:
    """The model of an adapter folder: its base encoder, and the adapters and modules saved with them.

    Args:
        name_or_path: Folder or Hub id of an adapter that `train.py --lora true` saved.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        UserError: The base encoder isn't to be had here.
    """
    from peft import PeftConfig

    base_name = PeftConfig.from_pretrained(name_or_path, revision=revision).base_model_name_or_path
    config = AutoConfig.from_pretrained(name_or_path, revision=revision)
    encoder_config = getattr(config, "encoder_config", None)
    if encoder_config is None:
        model = AutoModelForSequenceClassification.from_pretrained(encoder_path(base_name), config=config)
    else:
        model = AutoModelForSequenceClassification.from_config(config)
        model.base_model.pretrained = load_encoder(encoder_path(base_name), encoder_config, None)
    return PeftModel.from_pretrained(model, name_or_path, revision=revision).eval()
