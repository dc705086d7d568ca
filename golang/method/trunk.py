"""Trunks: torchvision's ResNets with synchronised batch norm, and a small ResNet for CPUs.

Every trunk maps images [R, 3, s, s] to a feature map [R, C, h, w] and says its C as `channels`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from golang.collectives import world_size
from golang.config.checks import TRUNK_CHANNELS
from golang.method.batchnorm import BatchNorm

resnet = torchvision.models.resnet
TRUNKS = tuple(TRUNK_CHANNELS)


class Trunk(nn.Sequential):
    """A ResNet without its pooling and classifier; children keep torchvision's names."""

    def __init__(self, children: dict[str, nn.Module], channels: int) -> None:
        super().__init__(OrderedDict(children))
        self.channels = channels

    def feature_maps(self, large: Tensor, small: Tensor | None) -> list[Tensor]:
        """That of the large crops and, where there are any, that of the small ones."""
        return self.together([crops for crops in (large, small) if crops is not None and len(crops)])

    def together(self, crops: Sequence[Tensor]) -> list[Tensor]:
        """The feature maps of crops of several sizes, bit for bit as a call for each in turn.

        Over GPUs all pass a layer before any passes the next, so a norm's collectives, which a step waits for, serve
        all sizes. A processor has more of its caches from one size after the other.
        """
        if not (self.training and _waits(crops[0])):
            return [self(x) for x in crops]
        norms = [module for module in self.modules() if isinstance(module, BatchNorm)]
        if counters := [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]:
            torch._foreach_add_(counters, len(crops))
        return _passed(self, crops)


def _waits(x: Tensor) -> bool:
    return x.is_cuda and world_size() > 1


def _passed(module: nn.Module, maps: Sequence[Tensor]) -> list[Tensor]:
    """Each of `maps` behind `module`."""
    if isinstance(module, BatchNorm):
        return module.together(maps)
    if isinstance(module, nn.Sequential):
        for child in module:
            maps = _passed(child, maps)
        return list(maps)
    if not isinstance(module, resnet.BasicBlock | resnet.Bottleneck):
        return [module(x) for x in maps]
    layers = [(module.conv1, module.bn1), (module.conv2, module.bn2)]
    if isinstance(module, resnet.Bottleneck):
        layers.append((module.conv3, module.bn3))
    inner = maps
    for number, (convolution, norm) in enumerate(layers):
        inner = _passed(norm, [convolution(x) for x in (map(module.relu, inner) if number else inner)])
    past = maps if module.downsample is None else _passed(module.downsample, maps)
    return [module.relu(x.add_(before)) for x, before in zip(inner, past, strict=True)]


def build_trunk(name: str) -> Trunk:
    """The trunk of that name, freshly initialised (kaiming fan-out, batch norm 1/0, no zero-init residual)."""
    if name == "small":
        # 16 channels keep a processor waiting for memory, so the map shrinks early: 64 pixels → 32 → 16 → 8 → 4 → 4.
        stem = _stem(16, kernel=3, pool=False)
        return small_resnet(resnet.BasicBlock, width=16, stem=stem, strides=(2, 2, 2, 1))
    whole = getattr(torchvision.models, name)(weights=None, norm_layer=BatchNorm)
    channels = whole.fc.in_features
    return Trunk({key: child for key, child in whole.named_children() if key not in ("avgpool", "fc")}, channels)


def small_resnet(
    block: Any, width: int, stem: dict[str, nn.Module] | None = None,  # noqa: ANN401 - BasicBlock or Bottleneck
    base_width: int = 64, strides: tuple[int, int, int, int] = (1, 2, 2, 2),
) -> Trunk:  # fmt: skip
    """A ResNet of one block a stage; stage s has width·2^s planes (times the block's expansion) and stride strides[s].

    The default stem is torchvision's (7×7 with stride 2, then a pool with stride 2).
    """
    layers = dict(stem or _stem(width, kernel=7, pool=True))
    channels = width
    for stage, stride in enumerate(strides):
        planes = width * 2**stage
        expanded = planes * block.expansion
        downsample = None
        if stride != 1 or channels != expanded:
            downsample = nn.Sequential(nn.Conv2d(channels, expanded, 1, stride, bias=False), BatchNorm(expanded))
        unit = block(channels, planes, stride, downsample, base_width=base_width, norm_layer=BatchNorm)
        layers[f"layer{stage + 1}"] = nn.Sequential(unit)
        channels = expanded
    trunk = Trunk(layers, channels)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk


def _stem(width: int, kernel: int, pool: bool) -> dict[str, nn.Module]:
    stem: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, width, kernel, stride=2, padding=kernel // 2, bias=False),
        "bn1": BatchNorm(width),
        "relu": nn.ReLU(inplace=True),
    }
    if pool:
        stem["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return stem
