"""Protocol B's detector: Faster R-CNN on the map of stage 3, stage 4 as its box head (Ren et al., 2015; He et al.,
2016). torchvision has none."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from golang.evaluation.transfer.networks import draws, types
from golang.evaluation.transfer.networks.detector import Detector
from golang.evaluation.transfer.networks.roi import Pool, RegionHeads
from golang.evaluation.transfer.networks.rpn import RegionProposals
from golang.evaluation.transfer.networks.stages import Stages, freeze, stride_on_1x1
from golang.evaluation.transfer.networks.types import Widths
from golang.method.batchnorm import BatchNorm
from golang.method.trunk import Trunk

SIDE = 14  # of a region's map, which stage 4 halves


class Body(nn.Module):
    """The trunk up to stage 3, under the name it has in a detector."""

    def __init__(self, body: Stages) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.body(x)
        return maps


class StageHead(nn.Module):
    """A region's map [K, C, 14, 14] behind stage 4 and a norm of its own, averaged, [K, F]."""

    def __init__(self, layer4: nn.Module, features: int, frozen: bool) -> None:
        super().__init__()
        self.layer4, self.norm, self.frozen = layer4, BatchNorm(features), frozen
        if frozen:
            freeze(layer4)

    def train(self, mode: bool = True) -> StageHead:
        super().train(mode)
        self.layer4.train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> Tensor:
        averaged: Tensor = self.norm(self.layer4(x)).mean((2, 3))
        return averaged


def faster_rcnn_c4(
    trunk: Trunk, classes: int, seed: int, widths: Widths = types.B, frozen: bool = False, published: bool = False
) -> Detector:
    """Protocol B's network on `trunk`, which becomes a part of it; its other weights are drawn by `seed`. `frozen` and
    `published` as of `mask_rcnn`."""
    if published:
        stride_on_1x1(trunk)
    stage4, body = trunk.get_submodule("layer4"), Stages(trunk, ["layer3"], frozen)
    (stage,) = body.stages.values()
    with draws.weights(seed):
        head = StageHead(stage4, trunk.channels, frozen)
        heads = RegionHeads(widths, Pool(SIDE, [stage.stride]), head, FastRCNNPredictor(trunk.channels, classes + 1))
        return Detector(Body(body), RegionProposals([stage], widths), heads)
