"""The models, registered with the Auto classes and ready to be saved with their code."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from salience.configuration import AttnPoolConfig, BaselineConfig, HierarchicalAttnConfig
from salience.modeling.modeling_attn_pool import AttnPoolForSequenceClassification, AttnPoolModel
from salience.modeling.modeling_baseline import BaselineForSequenceClassification, BaselineModel
from salience.modeling.modeling_hierarchical_attn import (
    HierarchicalAttnForSequenceClassification,
    HierarchicalAttnModel,
)


def register(
    config_class: type[PretrainedConfig],
    model_class: type[PreTrainedModel],
    classifier_class: type[PreTrainedModel],
) -> None:
    """Make the Auto classes know a family, and its saved folders carry its code."""
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, model_class, exist_ok=True)
    AutoModelForSequenceClassification.register(config_class, classifier_class, exist_ok=True)
    config_class.register_for_auto_class()
    model_class.register_for_auto_class("AutoModel")
    classifier_class.register_for_auto_class("AutoModelForSequenceClassification")


register(AttnPoolConfig, AttnPoolModel, AttnPoolForSequenceClassification)
register(HierarchicalAttnConfig, HierarchicalAttnModel, HierarchicalAttnForSequenceClassification)
register(BaselineConfig, BaselineModel, BaselineForSequenceClassification)

__all__ = [
    "AttnPoolConfig",
    "AttnPoolForSequenceClassification",
    "AttnPoolModel",
    "BaselineConfig",
    "BaselineForSequenceClassification",
    "BaselineModel",
    "HierarchicalAttnConfig",
    "HierarchicalAttnForSequenceClassification",
    "HierarchicalAttnModel",
]
