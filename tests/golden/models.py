"""The golden files' networks, built from the project's own parts at whatever sizes the arrays have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from golang.config import Config, Method, Model, Optim
from golang.method.model import GOLANG
from golang.method.trunk import Trunk, small_resnet
from golang.training.optim import LARC, build_optimizer
from golang.training.step import TrainStep

Arrays = Mapping[str, np.ndarray]
METHOD = Method(temperature=0.1, epsilon=0.05, sinkhorn_iterations=3)


class FeatureMaps(Trunk):
    """A trunk that is given the last stage's output instead of images."""

    def __init__(self, channels: int) -> None:
        nn.Sequential.__init__(self)
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        return images


def weights(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """The arrays below `prefix/`, without it."""
    return {key[len(prefix) + 1 :]: arrays[key] for key in arrays if key.startswith(prefix + "/")}


def own_name(name: str) -> str:
    """The project's name of a published parameter."""
    heads = ("projection_head.", "local_projection_head.", "prototypes.", "local_prototypes.", "l2g_prototypes.")
    return name if name.startswith(heads) else f"trunk.{name}"


def golden_model(state: Mapping[str, np.ndarray], heads: int, dtype: torch.dtype, trunk: Trunk | None = None) -> GOLANG:
    """GOLANG of the sizes in a published state dict, loaded strictly from it."""
    hidden, channels = state["projection_head.0.weight"].shape
    features = state["projection_head.3.weight"].shape[0]
    prototypes, local = len(state["prototypes.weight"]), len(state["local_prototypes.weight"])
    model = GOLANG(trunk or FeatureMaps(channels), hidden, features, prototypes, local, heads).to(dtype)
    model.load_state_dict({own_name(name): torch.from_numpy(np.array(value)) for name, value in state.items()})
    return model


def bottleneck_trunk(state: Mapping[str, np.ndarray], width_per_group: int) -> Trunk:
    """The one-block-a-stage bottleneck ResNet of the ten-step file."""
    return small_resnet(
        torchvision.models.resnet.Bottleneck, width=state["conv1.weight"].shape[0], base_width=width_per_group
    )


def golden_step(
    model: GOLANG, learning_rates: np.ndarray, settings: Mapping[str, float], forward: nn.Module | None = None
) -> TrainStep:
    """The project's own training step in full precision; settings: wd, momentum, trust, freeze."""
    optim = Optim(
        weight_decay=float(settings["wd"]),
        momentum=float(settings["momentum"]),
        trust=float(settings["trust"]),
        freeze_iterations=int(settings["freeze"]),
    )
    config = Config(precision="fp32", method=METHOD, model=Model(group_heads=model.group_heads), optim=optim)
    optimizer = build_optimizer(optim, model)
    assert isinstance(optimizer, LARC)
    return TrainStep(config, model, optimizer, [float(lr) for lr in learning_rates], forward)
