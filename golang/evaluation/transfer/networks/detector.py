"""Detectors, and protocol A's: Mask R-CNN with a feature pyramid (He et al., 2017; Lin et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork

from golang.evaluation.transfer.networks import draws, norm, types
from golang.evaluation.transfer.networks.roi import Pool, RegionHeads
from golang.evaluation.transfer.networks.rpn import RegionProposals
from golang.evaluation.transfer.networks.stages import Stage, Stages, shrinking, stride_on_1x1
from golang.evaluation.transfer.networks.types import Detections, Key, Loss, Target, Widths
from golang.method.batchnorm import BatchNorm
from golang.method.trunk import Trunk

MULTIPLE = 32  # pixels that a padded side is a multiple of
BOX_SIDE, MASK_SIDE = 7, 14  # of a region's map, for the box and the mask head


class Detector(nn.Module):
    """A backbone, images [b, 3, h, w] → maps [b, C, h/s, w/s] by name, and what proposes regions of them and looks at
    those."""

    def __init__(self, backbone: nn.Module, rpn: RegionProposals, roi_heads: RegionHeads) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target], keys: Sequence[Key]) -> dict[str, Loss]:
        """Of this rank's part of a batch, perhaps none: float [3, h, w] each, normalised, what is in it, and what its
        draws are functions of. Every rank calls it, for the norms' statistics are of all ranks' rows; all pad to the
        largest side of any rank, or a share would be another one's than in the whole batch."""
        device, sizes = self._like().device, [_size(image) for image in images]
        shares = norm.of_ranks(device, len(images), *(max(side) for side in zip((0, 0), *sizes, strict=True)))
        x = self._padded(images, (max(share[1] for share in shares), max(share[2] for share in shares)))
        with norm.rows(len(images), device):
            maps = list(self.backbone(x).values())
        anchors, logits, deltas = self.rpn(maps)
        found = self.rpn.losses(anchors, logits, deltas, targets, keys)
        proposals = self.rpn.proposals(anchors, logits, deltas, sizes)
        return found | self.roi_heads.losses(maps, proposals, targets, keys)

    @torch.no_grad()
    def detect(self, images: Sequence[Tensor], original: Sequence[tuple[int, int]]) -> list[Detections]:
        """What is in images float [3, h, w], in the pixels of their `original` (height, width), in eval mode. Each is
        seen alone: a convolution's last bits depend on how many images it is given."""
        assert not self.training
        return [self._detect(*one) for one in zip(images, original, strict=True)]

    def _detect(self, image: Tensor, original: tuple[int, int]) -> Detections:
        maps = list(self.backbone(self._padded([image], _size(image))).values())
        anchors, logits, deltas = self.rpn(maps)
        (proposals,) = self.rpn.proposals(anchors, logits, deltas, [_size(image)])
        return self.roi_heads.detect(maps, proposals, _size(image), original)

    def _padded(self, images: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """As one batch of at least `size`, each at the top left of zeros, the mean of normalised pixels."""
        batch = self._like().new_zeros(len(images), 3, *_up(size))
        for row, image in zip(batch, images, strict=True):
            row[:, : image.shape[-2], : image.shape[-1]] = image
        return batch

    def _like(self) -> Tensor:
        return next(self.parameters())


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _up(size: tuple[int, int]) -> tuple[int, int]:
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in size)
    return height, width


class Pyramid(nn.Module):
    """A trunk's maps, one a stride, brought to as many channels, the coarser added to the finer; last the coarsest one
    at half its size."""

    def __init__(self, body: Stages, channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(
            [stage.channels for stage in body.stages.values()], channels, norm_layer=BatchNorm
        )
        strides = [stage.stride for stage in body.stages.values()]
        self.stages = [Stage(channels, stride) for stride in (*strides, 2 * strides[-1])]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.fpn(self.body(x))
        return {**maps, "pool": maps[self.body.wanted[-1]][:, :, ::2, ::2]}


def mask_rcnn(
    trunk: Trunk, classes: int, seed: int, widths: Widths = types.A, masks: bool = True, frozen: bool = False,
    published: bool = False,
) -> Detector:  # fmt: skip
    """Protocol A's network on `trunk`, which becomes a part of it; its other weights are drawn by `seed`. Batch norm is
    in the trunk, the pyramid and the heads. `frozen`: the trunk keeps its weights and statistics; `published`: with
    SS-PRL's strides; without `masks`: boxes alone, for sets that have no more. A trunk of fewer maps has the pyramid's
    larger anchors."""
    if published:
        stride_on_1x1(trunk)
    body, channels = Stages(trunk, shrinking(trunk), frozen), widths.channels
    with draws.weights(seed):
        backbone = Pyramid(body, channels)
        strides = [stage.stride for stage in backbone.stages[:-1]]
        widths = widths.on([stage.stride for stage in backbone.stages])
        box_head = FastRCNNConvFCHead(
            (channels, BOX_SIDE, BOX_SIDE), [channels] * widths.convolutions, [widths.features], norm_layer=BatchNorm
        )
        parts: tuple[Pool, nn.Module, nn.Module] | tuple[()] = ()
        if masks:
            mask_head = MaskRCNNHeads(channels, [channels] * widths.convolutions, 1, norm_layer=BatchNorm)
            parts = Pool(MASK_SIDE, strides), mask_head, MaskRCNNPredictor(channels, channels, classes + 1)
        heads = RegionHeads(
            widths, Pool(BOX_SIDE, strides), box_head, FastRCNNPredictor(widths.features, classes + 1), *parts
        )
        _initialise(heads)
        detector = Detector(backbone, RegionProposals(backbone.stages, widths), heads)
    return detector


def _initialise(heads: RegionHeads) -> None:
    """As the literature's: a box head's linear layer uniformly by its inputs, a mask's logits close to 0. torchvision
    leaves the first to nn.Linear and starts the second like any convolution."""
    for module in heads.box_head.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=1)
            nn.init.zeros_(module.bias)
    if isinstance(heads.mask_predictor, MaskRCNNPredictor):
        nn.init.normal_(heads.mask_predictor.mask_fcn_logits.weight, std=0.001)
        nn.init.zeros_(heads.mask_predictor.mask_fcn_logits.bias)
        nn.init.zeros_(heads.mask_predictor.conv5_mask.bias)
