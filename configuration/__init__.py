"""Configurations of the models and of training, and the recipes."""

from typing import TYPE_CHECKING

from salience.configuration.lazy import lazy_names

if TYPE_CHECKING:
    from salience.configuration.configuration_attn_pool import AttnPoolConfig
    from salience.configuration.configuration_baseline import BaselineConfig
    from salience.configuration.configuration_hierarchical_attn import HierarchicalAttnConfig

__all__ = ["AttnPoolConfig", "BaselineConfig", "HierarchicalAttnConfig"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AttnPoolConfig": "salience.configuration.configuration_attn_pool",
        "BaselineConfig": "salience.configuration.configuration_baseline",
        "HierarchicalAttnConfig": "salience.configuration.configuration_hierarchical_attn",
    },
)
