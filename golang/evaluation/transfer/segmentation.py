"""Naming each pixel."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golang import randomness
from golang.data.objects.segments import Segments
from golang.engine.session import Session
from golang.evaluation.transfer import numbers, views
from golang.evaluation.transfer.networks.fcn import AUXILIARY_CHANNELS, CHANNELS, Segmenter, fcn
from golang.evaluation.transfer.networks.types import OWN, Loss
from golang.evaluation.transfer.numbers import Protocol
from golang.evaluation.transfer.scores.segments import Confusion
from golang.evaluation.transfer.tasks import Item, Task
from golang.method.trunk import Trunk
from golang.randomness import Purpose

log = logging.getLogger(__name__)


class Segmentation(Task):
    """A dilated FCN on a trunk."""

    network: Segmenter

    def __init__(
        self, protocol: Protocol, trunk: Trunk, trunk_name: str, dtype: torch.dtype, train: Segments, test: Segments,
        workers: int,
    ) -> None:  # fmt: skip
        self.protocol, self.train, self.test, self.workers, self.dtype = protocol, train, test, workers, dtype
        self.trunk_name = trunk_name
        self.network = build_segmenter(protocol, trunk, len(train.classes)).to(dtype)
        self.sizes = train.sizes
        self.chosen = np.arange(len(train.images))

    def item(self, epoch: int, index: int) -> Item:
        image, nearest = self.train.load_nearest(index)
        rng = randomness.generator(numbers.SEED, Purpose.VIEW, epoch, index)
        labels = self.train.of(nearest)
        return index, *views.segmentation_view(rng, image, labels, self.protocol.side, self.protocol.longest)

    def losses(self, batch: list[Item], epoch: int) -> dict[str, Loss]:
        device = next(self.network.parameters()).device
        indices, pixels, labels = zip(*batch, strict=True)
        images = OWN.normalise(torch.stack(pixels).to(device, non_blocking=True), self.dtype)
        maps = torch.stack(labels).to(device, non_blocking=True).long()
        keys = [(numbers.SEED, epoch, int(index)) for index in indices]
        return self.network.losses(images, maps, keys)

    def score(self, session: Session, folder: Path) -> dict[str, Any]:
        confusion, device = Confusion(self.test.classes), session.rank.device
        self.network.eval()
        with torch.inference_mode():
            for pixels, labels in self.tests(session, len(self.test), self._test_view):
                seen = OWN.normalise(pixels.to(device, non_blocking=True), self.dtype)
                confusion.add(labels, self.network.segment(seen, (labels.shape[0], labels.shape[1])))
        return {
            "measure": "mIoU", **confusion.over_ranks(device).figures(),
            "train": str(self.train.images.root), "test": str(self.test.images.root),
            "train_images": len(self.chosen), "test_images": len(self.test.images),
        }  # fmt: skip

    def _test_view(self, index: int) -> tuple[Tensor, Tensor]:
        view = views.whole_view(self.test.load(index), self.protocol.side, self.protocol.longest)
        return view, torch.from_numpy(self.test.of(index))

    def facts(self) -> list[Any]:
        return [len(self.train.images), len(self.test.images), list(self.train.classes), str(self.dtype)]

    def description(self) -> dict[str, Any]:
        return {"protocol": asdict(self.protocol), "trunk": self.trunk_name, "classes": list(self.train.classes)}


def build_segmenter(protocol: Protocol, trunk: Trunk, classes: int) -> Segmenter:
    """The protocol's network on `trunk`, its other weights drawn by the protocols' seed; on a narrow trunk no wider."""
    channels, auxiliary = min(CHANNELS, trunk.channels), min(AUXILIARY_CHANNELS, trunk.channels)
    return fcn(trunk, classes, numbers.SEED, channels, auxiliary, frozen=protocol.frozen)
