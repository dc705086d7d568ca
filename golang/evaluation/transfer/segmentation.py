"""Naming each pixel."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golang import randomness
from golang.collectives import gather_rows
from golang.data.objects.segments import Segments
from golang.engine.session import Session
from golang.evaluation.result import IOU
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
    points: npt.NDArray[np.float64] | None = None  # mean IoU of each test image, once they are scored [N]

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
        return index, *views.segmentation_view(rng, image, labels, self.protocol)

    def losses(self, batch: list[Item], epoch: int) -> dict[str, Loss]:
        device = next(self.network.parameters()).device
        indices, pixels, labels = zip(*batch, strict=True)
        images = OWN.normalise(torch.stack(pixels).to(device, non_blocking=True), self.dtype)
        maps = torch.stack(labels).to(device, non_blocking=True).long()
        keys = [(numbers.SEED, epoch, int(index)) for index in indices]
        return self.network.losses(images, maps, keys)

    def score(self, session: Session, folder: Path) -> dict[str, Any]:
        confusion, device, points = Confusion(self.test.classes), session.rank.device, list[float]()
        self.network.eval()
        with torch.inference_mode():
            for pixels, labels in self.tests(session, len(self.test), self._test_view):
                points.append(confusion.add(labels, self._map(pixels.to(device, non_blocking=True), labels)))
        self.points = gather_rows(torch.tensor(points, dtype=torch.float64, device=device)).cpu().numpy()
        return {
            "measure": IOU, **confusion.over_ranks(device).figures(),
            "train": str(self.train.images.root), "test": str(self.test.images.root),
            "train_images": len(self.chosen), "test_images": len(self.test.images),
        }  # fmt: skip

    def _test_view(self, index: int) -> tuple[Tensor, Tensor]:
        view = views.whole_view(self.test.load(index), self.protocol.side, self.protocol.longest)
        return view, torch.from_numpy(self.test.of(index))

    def map_of(self, index: int) -> npt.NDArray[np.int64]:
        """The class found for each pixel of test image `index`, int64 [height, width]."""
        pixels, labels = self._test_view(index)
        found: npt.NDArray[np.int64] = (
            self._map(pixels.to(next(self.network.parameters()).device), labels).cpu().numpy()
        )
        return found

    def _map(self, pixels: Tensor, labels: Tensor) -> Tensor:
        return self.network.segment(OWN.normalise(pixels, self.dtype), (labels.shape[0], labels.shape[1]))

    def facts(self) -> list[Any]:
        return [len(self.train.images), len(self.test.images), list(self.train.classes), str(self.dtype)]

    def description(self) -> dict[str, Any]:
        return {"protocol": asdict(self.protocol), "trunk": self.trunk_name, "classes": list(self.train.classes)}


def build_segmenter(protocol: Protocol, trunk: Trunk, classes: int) -> Segmenter:
    """The protocol's network on `trunk`, its other weights drawn by the protocols' seed; on a narrow trunk no wider."""
    channels, auxiliary = min(CHANNELS, trunk.channels), min(AUXILIARY_CHANNELS, trunk.channels)
    return fcn(trunk, classes, numbers.SEED, channels, auxiliary, frozen=protocol.frozen)
