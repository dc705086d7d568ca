"""A trunk's first stages as a network's backbone: the same tensors by the same names, at the strides it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from golang.method.trunk import Trunk

LAYERS = ("layer1", "layer2", "layer3", "layer4")
_SIDE = 64  # pixels of the image that strides are measured on


class Stage(NamedTuple):
    """Of the map behind a stage."""

    channels: int
    stride: int  # pixels of the image a step of the map


class Stages(nn.Module):
    """A trunk up to the last of the `wanted` stages, whose maps it gives, [b, C, h, w] by name. A frozen one has no
    gradients, and its norms keep the statistics that they have."""

    def __init__(self, trunk: Trunk, wanted: Sequence[str], frozen: bool) -> None:
        super().__init__()
        self.wanted, self.frozen = tuple(wanted), frozen
        self.stages = {name: stage for name, stage in measured(trunk).items() if name in wanted}
        for name, child in trunk.named_children():
            self.add_module(name, child)
            if name == wanted[-1]:
                break
        if frozen:
            freeze(self)

    def train(self, mode: bool = True) -> Stages:
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            for name, child in self.named_children():
                x = child(x)
                if name in self.wanted:
                    maps[name] = x
        return maps


def freeze(module: nn.Module) -> None:
    module.requires_grad_(False).eval()


def measured(trunk: Trunk) -> dict[str, Stage]:
    """What each stage's map is like, found by a small image."""
    training = trunk.training
    trunk.eval()
    x, found = next(trunk.parameters()).new_zeros(1, 3, _SIDE, _SIDE), {}
    with torch.no_grad():
        for name, child in trunk.named_children():
            x = child(x)
            if name in LAYERS:
                found[name] = Stage(x.shape[1], _SIDE // x.shape[-1])
    trunk.train(training)
    return found


def shrinking(trunk: Trunk) -> tuple[str, ...]:
    """The last stage of each stride, a pyramid's (Lin et al., 2017): all of torchvision's trunks, three of `small`."""
    return tuple({stage.stride: name for name, stage in measured(trunk).items()}.values())


def stride_on_1x1(trunk: Trunk) -> Trunk:
    """Changed so that a stage's stride is in its first 1×1 convolution, as SS-PRL's published evaluation has it for
    trunks that were trained with it in the 3×3."""
    for block in _blocks(trunk, LAYERS):
        if hasattr(block, "conv3"):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return trunk


def dilate(trunk: Trunk, stages: Sequence[str] = ("layer3", "layer4")) -> Trunk:
    """Changed so that `stages` keep the size of their map: what was stride is dilation in the layers behind it. As
    torchvision's replace_stride_with_dilation, for any block: 1, 1, 2, 4 for a ResNet."""
    dilation = 1
    for name in stages:
        for number, block in enumerate(_blocks(trunk, [name])):
            before = dilation
            for module in block.modules():
                if isinstance(module, nn.Conv2d):
                    if number == 0 and module.stride != (1, 1):
                        dilation, module.stride = before * module.stride[0], (1, 1)
                    if module.kernel_size == (3, 3):
                        module.dilation = module.padding = (before, before)
    return trunk


def _blocks(trunk: Trunk, stages: Sequence[str]) -> list[Any]:
    """Those of `stages`; torchvision has two classes of them."""
    return [block for name in stages for block in getattr(trunk, name)]
