"""Lets the modeling file import its configuration as the Hub's flat folder does; the class lives in `configuration`."""

from salience.configuration.configuration_attn_pool import AttnPoolConfig as AttnPoolConfig
