"""Heads on proposed regions: the class, the box and, where there is a mask head, the mask of what is there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import batched_nms, box_area, box_iou, clip_boxes_to_image, remove_small_boxes

from golang.evaluation.transfer.networks import losses, norm
from golang.evaluation.transfer.networks.draws import balanced
from golang.evaluation.transfer.networks.operations import roi_align
from golang.evaluation.transfer.networks.types import Detections, Key, Loss, Target, Widths
from golang.randomness import Purpose

OVERLAP = 0.5  # least overlap (IoU) of a region that shows an object
SHARE = 0.25  # of such regions among those drawn, at most
SCALES = (10.0, 10.0, 5.0, 5.0)  # of a box's x, y, width and height, relative to its region's
SCORE = 0.05  # least score of a detection
NMS = 0.5  # overlap from which the lesser of two detections of a class goes
SMALLEST = 1e-2  # side of a detection in pixels
MASK = 0.5  # probability from which a pixel is an object's
CANONICAL = (224, 4)  # a region of that side is taken from the map of stride 2⁴ (Lin et al., 2017, equation 1)


class Pool:
    """Regions [K, C, side, side] of maps of several strides, each from the map that suits its size."""

    def __init__(self, side: int, strides: Sequence[int]) -> None:
        self.side, self.strides = side, tuple(strides)

    def __call__(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Of `boxes` [n, 4], in pixels, of each image; further maps than there are strides go unused."""
        if len(self.strides) == 1:
            return roi_align(maps[0], boxes, self.side, self.strides[0])
        levels = [self._levels(part) for part in boxes]
        whole = torch.cat(levels) if levels else torch.zeros(0, dtype=torch.int64, device=maps[0].device)
        pooled = losses.wide(maps[0]).new_zeros(len(whole), maps[0].shape[1], self.side, self.side)
        used = zip(maps[: len(self.strides)], self.strides, strict=True)
        for level, (x, stride) in enumerate(used):
            chosen = [part[_places(mine == level)] for part, mine in zip(boxes, levels, strict=True)]
            pooled[_places(whole == level)] = roi_align(x, chosen, self.side, stride)
        return pooled

    def _levels(self, boxes: Tensor) -> Tensor:
        side, level = CANONICAL
        first, last = (math.log2(self.strides[end]) for end in (0, -1))
        found: Tensor = (level + (box_area(boxes).sqrt() / side).log2() + 1e-6).floor()
        return (found.clamp(first, last) - first).long()


class RegionHeads(nn.Module):
    """A box head [K, …] → [K, F] and, where given, a mask head [K, C, 14, 14] → [K, C, 14, 14] with its predictor.
    Outputs are per class, background first, as torchvision has them."""

    def __init__(
        self, widths: Widths, box_pool: Pool, box_head: nn.Module, box_predictor: FastRCNNPredictor,
        mask_pool: Pool | None = None, mask_head: nn.Module | None = None, mask_predictor: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.widths, self.box_pool, self.mask_pool = widths, box_pool, mask_pool
        self.box_head, self.box_predictor = box_head, box_predictor
        self.mask_head, self.mask_predictor = mask_head, mask_predictor
        self.matcher = Matcher(OVERLAP, OVERLAP, allow_low_quality_matches=False)
        self.coder = BoxCoder(SCALES)
        # As the literature's; torchvision leaves both to nn.Linear.
        for layer, deviation in ((box_predictor.cls_score, 0.01), (box_predictor.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def losses(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Sequence[Target], keys: Sequence[Key]
    ) -> dict[str, Loss]:
        """Of regions drawn from proposals and true boxes: class and box, per region, and mask, per object's region."""
        drawn = [self._draw(*one) for one in zip(proposals, targets, keys, strict=True)]
        regions, matched, labels = (list(part) for part in zip(*drawn, strict=True)) if drawn else ([], [], [])
        found = self._box_losses(maps, regions, matched, labels, targets)
        if self.mask_head is not None:
            shown = [_places(label > 0) for label in labels]
            positive, which = ([part[i] for part, i in zip(parts, shown, strict=True)] for parts in (regions, matched))
            found["mask"] = self._mask_loss(maps, positive, which, targets)
        return found

    @torch.no_grad()
    def _draw(self, proposals: Tensor, target: Target, key: Key) -> tuple[Tensor, Tensor, Tensor]:
        """An image's regions [r, 4], the object that each overlaps most, and its class from 1, or 0 for none."""
        truth = target.boxes.to(proposals)
        regions = torch.cat([proposals, truth])
        if len(truth):
            found = self.matcher(box_iou(truth, regions))
            labels = (target.classes[found.clamp(min=0)] + 1) * (found >= 0)
        else:
            found = labels = regions.new_zeros(len(regions), dtype=torch.int64)
        chosen = torch.cat(balanced(labels, self.widths.regions_drawn, SHARE, key, Purpose.REGIONS))
        return regions[chosen], found[chosen].clamp(min=0), labels[chosen]

    def _box_losses(
        self, maps: Sequence[Tensor], regions: list[Tensor], matched: list[Tensor], labels: list[Tensor],
        targets: Sequence[Target],
    ) -> dict[str, Loss]:  # fmt: skip
        count, device = sum(map(len, regions)), maps[0].device
        with norm.rows(count, device) as every:
            if not every:
                none = losses.loss(losses.nothing(self.box_head, self.box_predictor), 0)
                return {"class": none, "box": none}
            logits, deltas = self.box_predictor(self.box_head(self.box_pool(maps, regions)))
        if not count:
            none = losses.loss(logits.sum() + deltas.sum(), 0)
            return {"class": none, "box": none}
        label = torch.cat(labels)
        first, box = 0, deltas[:0].sum()
        for target, region, which, of in zip(targets, regions, matched, labels, strict=True):
            shown = _places(of > 0)
            if len(shown):
                wanted = self.coder.encode_single(target.boxes.to(region)[which[shown]], region[shown])
                box = box + losses.absolute(deltas.unflatten(1, (-1, 4))[first + shown, of[shown]], wanted)
            first += len(region)
        return {"class": losses.loss(losses.classes(logits, label), count), "box": losses.loss(box, count)}

    def _mask_loss(
        self, maps: Sequence[Tensor], regions: list[Tensor], matched: list[Tensor], targets: Sequence[Target]
    ) -> Loss:
        """Per region, so that ranks are together what one process is; torchvision's is a rank's average."""
        assert self.mask_pool is not None and self.mask_head is not None and self.mask_predictor is not None
        count = sum(map(len, regions))
        with norm.rows(count, maps[0].device) as every:
            if not every:
                return losses.loss(losses.nothing(self.mask_head, self.mask_predictor), 0)
            logits = self.mask_predictor(self.mask_head(self.mask_pool(maps, regions)))
        if not count:
            return losses.loss(logits.sum(), 0)
        kinds, wanted = list[Tensor](), list[Tensor]()
        for target, region, which in zip(targets, regions, matched, strict=True):
            if len(region):
                assert target.masks is not None
                kinds.append(target.classes[which] + 1)
                wanted.append(_within(target.masks, which, region, logits.shape[-1]))
        chosen = logits[torch.arange(count, device=logits.device), torch.cat(kinds)]
        return losses.loss(losses.binary(chosen, torch.cat(wanted)).mean((1, 2)).sum(), count)

    def detect(
        self, maps: Sequence[Tensor], proposals: Tensor, size: tuple[int, int], original: tuple[int, int]
    ) -> Detections:
        """What is in one image, of `size` as the network sees it, at its original (height, width)."""
        logits, deltas = self.box_predictor(self.box_head(self.box_pool(maps, [proposals])))
        boxes = self.coder.decode_single(losses.wide(deltas), proposals).view(*logits.shape, 4)
        found = self._best(boxes, losses.wide(logits).softmax(1), size)
        if self.mask_head is None:
            return _placed(found, None, size, original)
        assert self.mask_pool is not None and self.mask_predictor is not None
        masks = losses.wide(self.mask_predictor(self.mask_head(self.mask_pool(maps, [found.boxes]))))
        own = masks[torch.arange(len(masks), device=masks.device), found.classes + 1].sigmoid()
        return _placed(found, own[:, None], size, original)

    def _best(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Detections:
        """From boxes [n, C + 1, 4] and scores [n, C + 1], background first."""
        boxes = clip_boxes_to_image(boxes, size)
        region, kind = (scores[:, 1:] > SCORE).nonzero().unbind(1)
        boxes, scores = boxes[region, kind + 1], scores[region, kind + 1]
        large = remove_small_boxes(boxes, SMALLEST)
        boxes, scores, kind = boxes[large], scores[large], kind[large]
        kept = batched_nms(boxes, scores, kind, NMS)[: self.widths.detections]
        return Detections(boxes[kept], scores[kept], kind[kept])


def _within(masks: Tensor, which: Tensor, regions: Tensor, side: int) -> Tensor:
    """What of each region its object covers, [n, side, side] from 0 to 1."""
    rois = torch.cat([which.to(regions)[:, None], regions], dim=1)
    covered: Tensor = torch.ops.torchvision.roi_align(masks[:, None].to(regions), rois, 1.0, side, side, 0, True)
    return covered[:, 0]


def _places(wanted: Tensor) -> Tensor:
    return wanted.nonzero()[:, 0]


def _placed(found: Detections, masks: Tensor | None, size: tuple[int, int], original: tuple[int, int]) -> Detections:
    """In the original's pixels, on the CPU."""
    height, width = (new / old for new, old in zip(original, size, strict=True))
    boxes = found.boxes.cpu() * found.boxes.new_tensor([width, height, width, height], device="cpu")
    whole = None if masks is None else paste_masks_in_image(masks.cpu(), boxes, original)[:, 0] >= MASK
    return Detections(boxes, found.scores.cpu(), found.classes.cpu(), whole)
