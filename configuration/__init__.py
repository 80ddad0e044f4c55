"""Configurations of the models and of training, and the recipes."""

from typing import TYPE_CHECKING

from salience.configuration.families import codes
from salience.configuration.lazy import lazy_names

if TYPE_CHECKING:
    from salience.configuration.configuration_attn_pool import AttnPoolConfig
    from salience.configuration.configuration_baseline import BaselineConfig
    from salience.configuration.configuration_hierarchical_attn import HierarchicalAttnConfig

__all__ = ["AttnPoolConfig", "BaselineConfig", "HierarchicalAttnConfig"]

__getattr__, __dir__ = lazy_names(
    __name__, {f"{code.stem}Config": f"{__name__}.configuration_{code.name}" for code in codes().values()}
)
