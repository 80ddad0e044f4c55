"""Configurations of the models and of training, and the recipes."""

from .configuration_attn_pool import AttnPoolConfig
from .configuration_baseline import BaselineConfig
from .configuration_hierarchical_attn import HierarchicalAttnConfig

__all__ = ["AttnPoolConfig", "BaselineConfig", "HierarchicalAttnConfig"]
