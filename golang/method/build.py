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
        if config.method.name == "swav":
            return SwAV(trunk, model.hidden_dim, model.feature_dim, model.prototypes)
        return GOLANG(
            trunk,
            model.hidden_dim,
            model.feature_dim,
            model.prototypes,
            model.local_prototypes,
            model.group_heads,
            config.attention.temperature,
            config.cross_view.detach,
        )
