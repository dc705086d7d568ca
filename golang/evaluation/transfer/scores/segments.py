"""The mean intersection over union of classes of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from golang.collectives import sum_over_ranks
from golang.data.objects.segments import IGNORED


class Confusion:
    """How often pixels of one class were taken for another; sums of images, so their order and ranks don't matter."""

    def __init__(self, classes: Sequence[str], counts: Tensor | None = None) -> None:
        """`counts` as a checkpoint has kept them."""
        self.classes = tuple(classes)
        size = len(self.classes)
        self.counts = torch.zeros(size, size, dtype=torch.int64) if counts is None else counts  # true class, found one

    def add(self, truth: Tensor, found: Tensor) -> float:
        """Counts the pixels of an image, classes [h, w] each; where the truth is 255 they count nowhere. Returns the
        image's own mean IoU in points, NaN where no pixel counts."""
        size, known = len(self.classes), truth.flatten().long().cpu()
        counted = known != IGNORED
        pairs = known[counted] * size + found.flatten().long().cpu()[counted]
        own = torch.bincount(pairs, minlength=size * size).view(size, size)
        self.counts += own
        return 100 * float(_overlaps(own).nanmean())

    def over_ranks(self, device: torch.device) -> Confusion:
        """Every rank's counts together; this one's stay as they are. They pass through `device`; all ranks call it."""
        return Confusion(self.classes, sum_over_ranks(self.counts.to(device, copy=True)).cpu())

    def figures(self) -> dict[str, Any]:
        """In points: `mAP`, which here is the mean IoU over the classes that are true or found somewhere; `per_class`,
        their IoU; `pixel_accuracy`, the share of pixels that are right; `classes_without_positives`, true nowhere."""
        overlaps, pixels = _overlaps(self.counts), int(self.counts.sum())
        points = zip(self.classes, (100 * overlaps).tolist(), strict=True)
        empty = (self.counts.sum(1) == 0).tolist()
        return {
            "mAP": 100 * float(overlaps.nanmean()) if pixels else 0.0,
            "pixel_accuracy": 100 * int(self.counts.trace()) / max(pixels, 1),
            "per_class": {name: value for name, value in points if value == value},
            "classes_without_positives": [name for name, none in zip(self.classes, empty, strict=True) if none],
        }  # fmt: skip


def _overlaps(counts: Tensor) -> Tensor:
    """IoU of each class, float64 [C]; NaN of one that is neither true nor found."""
    right = counts.diagonal().double()
    return right / (counts.sum(0) + counts.sum(1) - counts.diagonal())
