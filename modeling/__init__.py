"""The models, registered with the Auto classes and ready to be saved with their code; and the pipeline that explains.

Where this package is imported, `pipeline("text-classification", ...)` is `ExplainingPipeline` for every model, so that
`explain=True` needs no code of a repository; without it, answers are those of transformers' own.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
from transformers.pipelines import PIPELINE_REGISTRY

from salience.configuration.families import Code, codes
from salience.modeling.explaining_pipeline import ExplainingPipeline

if TYPE_CHECKING:
    from salience.configuration import AttnPoolConfig, BaselineConfig, HierarchicalAttnConfig
    from salience.modeling.modeling_attn_pool import AttnPoolForSequenceClassification, AttnPoolModel
    from salience.modeling.modeling_baseline import BaselineForSequenceClassification, BaselineModel
    from salience.modeling.modeling_hierarchical_attn import (
        HierarchicalAttnForSequenceClassification,
        HierarchicalAttnModel,
    )


def register(code: Code) -> dict[str, type]:
    """Make the Auto classes know a configuration and its models, and their saved folders carry their code.

    Returns:
        Configuration, model and classifier, by name.
    """
    module = import_module(f"{__name__}.modeling_{code.name}")
    config_class = code.config_class()
    model_class = getattr(module, f"{code.stem}Model")
    classifier_class = getattr(module, f"{code.stem}ForSequenceClassification")
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, model_class, exist_ok=True)
    AutoModelForSequenceClassification.register(config_class, classifier_class, exist_ok=True)
    config_class.register_for_auto_class()
    model_class.register_for_auto_class("AutoModel")
    classifier_class.register_for_auto_class("AutoModelForSequenceClassification")
    return {each.__name__: each for each in (config_class, model_class, classifier_class)}


for _code in codes().values():
    globals().update(register(_code))
PIPELINE_REGISTRY.supported_tasks["text-classification"]["impl"] = ExplainingPipeline

__all__ = [
    "AttnPoolConfig",
    "AttnPoolForSequenceClassification",
    "AttnPoolModel",
    "BaselineConfig",
    "BaselineForSequenceClassification",
    "BaselineModel",
    "ExplainingPipeline",
    "HierarchicalAttnConfig",
    "HierarchicalAttnForSequenceClassification",
    "HierarchicalAttnModel",
]
