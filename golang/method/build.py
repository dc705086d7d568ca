"""From settings to a freshly initialised network."""

from __future__ import annotations

import torch

from golang.config import Config
from golang.method.model import GOLANG, SwAV
from golang.method.trunk import build_trunk


def display_name(config: Config) -> str:
    """The method's name as its authors write it."""
    return {"golang": "GOLANG", "swav": "SwAV"}[config.method.name]


def build_model(config: Config) -> SwAV:
    """The network of `config`; its initial weights are a function of the seed alone."""
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        trunk = build_trunk(model.trunk)
        shared = (trunk, model.hidden_dim, model.feature_dim, model.prototypes)
        if config.method.name == "swav":
            return SwAV(*shared)
        attention, cross_view = config.attention, config.cross_view
        return GOLANG(*shared, model.local_prototypes, model.group_heads, attention.temperature, cross_view.detach)
