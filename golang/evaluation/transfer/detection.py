"""Finding things: boxes, and masks where the set has them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golang import randomness
from golang.data.objects.objects import Objects
from golang.engine.session import Session
from golang.errors import DataError
from golang.evaluation.transfer import numbers, views
from golang.evaluation.transfer.networks import types
from golang.evaluation.transfer.networks.c4 import faster_rcnn_c4
from golang.evaluation.transfer.networks.detector import Detector, mask_rcnn
from golang.evaluation.transfer.networks.types import OWN, PUBLISHED, Loss, Target
from golang.evaluation.transfer.numbers import Protocol
from golang.evaluation.transfer.scores.coco import coco
from golang.evaluation.transfer.scores.results import Results
from golang.evaluation.transfer.scores.voc import voc11
from golang.evaluation.transfer.tasks import Item, Task
from golang.method.trunk import Trunk
from golang.randomness import Purpose

log = logging.getLogger(__name__)
FOUND = "detections.pt"
NARROW = 256  # channels of a trunk; what stands on one of fewer, which is for trying things, is narrow, too


class _NoTimeError(Exception):
    """The evaluation is asked to stop, so scoring goes no further."""


class Detection(Task):
    """Mask R-CNN or Faster R-CNN on a trunk."""

    network: Detector
    results: Results | None = None  # of all test images, once they are scored

    def __init__(
        self, protocol: Protocol, trunk: Trunk, trunk_name: str, dtype: torch.dtype, train: Objects, test: Objects,
        workers: int,
    ) -> None:  # fmt: skip
        self.protocol, self.train, self.test, self.workers, self.dtype = protocol, train, test, workers, dtype
        self.trunk_name = trunk_name
        self.masks = protocol.network == "fpn" and train.shapes is not None and test.shapes is not None
        self.network = build_detector(protocol, trunk, len(train.images.classes), self.masks).to(dtype)
        self.pixels = PUBLISHED if protocol.published else OWN
        self.sizes = train.sizes
        self.learns_ignored = protocol.network == "c4"  # VOC's difficult objects, not COCO's crowds
        learned = ~train.ignored | self.learns_ignored
        counts = np.add.reduceat(np.append(learned, False), train.offsets[:-1]) * (np.diff(train.offsets) > 0)
        self.chosen = np.flatnonzero(counts)
        if not len(self.chosen):
            raise DataError(f"{train.images.root}: no training image has a box to learn from; check the annotations")

    def item(self, epoch: int, index: int) -> Item:
        image, nearest = self.train.load_nearest(index)
        rng = randomness.generator(numbers.SEED, Purpose.VIEW, epoch, index)
        masks = self.train.masks(nearest) if self.masks else None
        pixels, target = views.detection_view(
            rng, image, self.train.of(nearest), masks, self.protocol, self.learns_ignored
        )
        return index, pixels, *target

    def losses(self, batch: list[Item], epoch: int) -> dict[str, Loss]:
        device = next(self.network.parameters()).device
        images, targets, keys = list[Tensor](), list[Target](), list[tuple[int, ...]]()
        for index, pixels, boxes, classes, masks in batch:
            images.append(self._seen(pixels.to(device, non_blocking=True)))
            own = None if masks is None else masks.to(device, non_blocking=True)
            targets.append(Target(boxes.to(device, self.dtype), classes.to(device), own))
            keys.append((numbers.SEED, epoch, int(index)))
        return self.network.losses(images, targets, keys)

    def score(self, session: Session, folder: Path) -> dict[str, Any]:
        self.results = results = self.detect(session).over_ranks(session.rank.device)
        found: dict[str, Any] = {}
        with session.alone(f"scoring {len(self.test)} images") as stopped:
            if stopped is not None:
                results.save(folder / FOUND)
                found = self._figures(results, stopped)
        session.ask()  # what was left off ends here, on every rank
        return {
            **found, "train": str(self.train.images.root), "test": str(self.test.images.root),
            "train_images": len(self.chosen), "test_images": len(self.test),
        }  # fmt: skip

    def _figures(self, results: Results, stopped: Callable[[], bool]) -> dict[str, Any]:
        """What `results` are worth; nothing once `stopped` says that there is no time."""

        def ask() -> None:
            if stopped():
                raise _NoTimeError

        score = voc11 if self.protocol.network == "c4" else coco
        try:
            return score(self.test, results, ask)
        except _NoTimeError:
            return {}

    def detect(self, session: Session) -> Results:
        """What this rank finds in its part of the test images."""
        pieces = list[Results]()
        self.network.eval()
        with torch.inference_mode():
            for index, pixels in self.tests(session, len(self.test), self._test_view):
                width, height = self.test.sizes[index].tolist()
                seen = self._seen(pixels.to(session.rank.device, non_blocking=True))
                (one,) = self.network.detect([seen], [(height, width)])
                pieces.append(Results.of(index, one))
        return Results.joined(pieces, self.masks)

    def _test_view(self, index: int) -> tuple[int, Tensor]:
        return index, views.whole_view(self.test.load(index), self.protocol.side, self.protocol.longest)

    def facts(self) -> list[Any]:
        sets = [[len(one), len(one.boxes), float(one.boxes.sum())] for one in (self.train, self.test)]
        return [*sets, list(self.train.images.classes), self.masks, str(self.dtype)]

    def description(self) -> dict[str, Any]:
        classes, protocol = list(self.train.images.classes), asdict(self.protocol)
        return {"protocol": protocol, "trunk": self.trunk_name, "classes": classes, "masks": self.masks}

    def _seen(self, pixels: Tensor) -> Tensor:
        return self.pixels.normalise(pixels, self.dtype)


def build_detector(protocol: Protocol, trunk: Trunk, classes: int, masks: bool) -> Detector:
    """The protocol's network on `trunk`, its other weights drawn by the protocols' seed."""
    widths = types.B if protocol.network == "c4" else types.A
    if trunk.channels < NARROW:
        widths = widths.narrow()
    widths = widths.at(protocol.side)
    if protocol.network == "c4":
        return faster_rcnn_c4(trunk, classes, numbers.SEED, widths, protocol.frozen, protocol.published)
    return mask_rcnn(trunk, classes, numbers.SEED, widths, masks, protocol.frozen, protocol.published)
