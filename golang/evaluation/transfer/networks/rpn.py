"""The region proposal network: where objects may be, from every map of a backbone (Ren et al., 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image, remove_small_boxes

from golang.evaluation.transfer.networks import losses
from golang.evaluation.transfer.networks.draws import balanced
from golang.evaluation.transfer.networks.stages import Stage
from golang.evaluation.transfer.networks.types import Key, Loss, Target, Widths
from golang.randomness import Purpose

RATIOS = (0.5, 1.0, 2.0)  # an anchor's height to its width
POSITIVE, NEGATIVE = 0.7, 0.3  # least and most overlap (IoU) with an object
SHARE = 0.5  # of positive ones among the anchors drawn, at most
NMS = 0.7  # overlap from which the lesser of two proposals goes
SMALLEST = 1e-3  # side of a proposal in pixels


class Anchors(AnchorGenerator):  # type: ignore[misc, unused-ignore]
    """torchvision's, not rounded to whole pixels (much of a small one), and at the maps' own strides: it divides the
    image's side by the map's, which is not the coarsest map's stride where that was rounded up."""

    def __init__(self, sides: Sequence[Sequence[float]], strides: Sequence[int]) -> None:
        super().__init__(tuple(map(tuple, sides)), (RATIOS,) * len(sides))
        self.strides = tuple(strides)

    def generate_anchors(
        self, scales: Sequence[float], aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> Tensor:  # fmt: skip
        boxes = [(side / math.sqrt(ratio), side * math.sqrt(ratio)) for ratio in aspect_ratios for side in scales]
        halves = torch.tensor(boxes, dtype=torch.float64, device=device) / 2
        return torch.cat([-halves, halves], dim=1).to(dtype)

    def on(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Those of each map [b, C, h, w], [h·w·A, 4]; at least in fp32."""
        dtype = torch.float64 if maps[0].dtype == torch.float64 else torch.float32
        self.set_cell_anchors(dtype, maps[0].device)
        grids: list[Tensor] = self.grid_anchors([x.shape[-2:] for x in maps], [(s, s) for s in self.strides])
        return grids


class RegionProposals(nn.Module):
    """One convolution, as in the literature (torchvision's second version has two), and what comes of its outputs."""

    def __init__(self, stages: Sequence[Stage], widths: Widths) -> None:
        super().__init__()
        sides = [(side,) for side in widths.anchors] if len(stages) > 1 else [widths.anchors]
        self.anchors = Anchors(sides, [stage.stride for stage in stages])
        self.head = RPNHead(stages[0].channels, len(sides[0]) * len(RATIOS), conv_depth=1)
        self.widths, self.coder = widths, BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.matcher = Matcher(POSITIVE, NEGATIVE, allow_low_quality_matches=True)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Of each map its anchors [h·w·A, 4], their logits [b, h·w·A] and boxes relative to them [b, h·w·A, 4]."""
        logits, deltas = self.head(maps)
        flat = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
        split = [x.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas]
        return self.anchors.on(maps), [losses.wide(x) for x in flat], [losses.wide(x) for x in split]

    @torch.no_grad()
    def proposals(
        self, anchors: list[Tensor], logits: list[Tensor], deltas: list[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Tensor]:
        """Of each image of (height, width) the best boxes, best first, [n, 4]. Equals go by their place in the map."""
        before, after = (pair[not self.training] for pair in (self.widths.before_nms, self.widths.after_nms))
        scores, boxes, levels = list[Tensor](), list[Tensor](), list[Tensor]()
        for level, (base, score, delta) in enumerate(zip(anchors, logits, deltas, strict=True)):
            score, order = score.sort(dim=1, descending=True, stable=True)
            order = order[:, :before]
            chosen = delta.gather(1, order[..., None].expand(-1, -1, 4))
            decoded = self.coder.decode_single(chosen.flatten(0, 1), base[order].flatten(0, 1))
            scores.append(score[:, :before])
            boxes.append(decoded.view(*order.shape, 4))
            levels.append(torch.full_like(order, level))
        found = zip(torch.cat(scores, 1), torch.cat(boxes, 1), torch.cat(levels, 1), sizes, strict=True)
        return [self._best(*one, after) for one in found]

    @staticmethod
    def _best(scores: Tensor, boxes: Tensor, levels: Tensor, size: tuple[int, int], most: int) -> Tensor:
        boxes = clip_boxes_to_image(boxes, size)
        large = remove_small_boxes(boxes, SMALLEST)
        boxes, scores, levels = boxes[large], scores[large], levels[large]
        kept: Tensor = boxes[batched_nms(boxes, scores, levels, NMS)[:most]]
        return kept

    def losses(
        self, anchors: list[Tensor], logits: list[Tensor], deltas: list[Tensor], targets: Sequence[Target],
        keys: Sequence[Key],
    ) -> dict[str, Loss]:  # fmt: skip
        """Of the anchors drawn: whether an object is there, and where, per anchor drawn."""
        every, score, delta = torch.cat(anchors), torch.cat(logits, 1), torch.cat(deltas, 1)
        # Zeros with a way back, which a rank without images goes too.
        objectness, box, drawn = score[:0].sum(), delta[:0].sum(), 0
        for image, (target, key) in enumerate(zip(targets, keys, strict=True)):
            truth = target.boxes.to(every)
            labels, matched = self._match(every, truth)
            positive, negative = balanced(labels, self.widths.anchors_drawn, SHARE, key, Purpose.ANCHORS)
            both = torch.cat([positive, negative])
            objectness = objectness + losses.binary(score[image, both], labels[both]).sum()
            if len(positive):
                wanted = self.coder.encode_single(truth[matched[positive]], every[positive])
                box = box + losses.absolute(delta[image, positive], wanted)
            drawn += len(both)
        return {"objectness": losses.loss(objectness, drawn), "proposal_box": losses.loss(box, drawn)}

    @torch.no_grad()
    def _match(self, anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Of each anchor 1, 0 or -1 for an object, none or neither, and which object, int64 [n] each."""
        if not len(boxes):
            return (none := torch.zeros_like(anchors[:, 0], dtype=torch.int64)), none
        found = self.matcher(box_iou(boxes, anchors))
        labels = (found >= 0).long()
        return labels.masked_fill(found == Matcher.BETWEEN_THRESHOLDS, -1), found.clamp(min=0)
