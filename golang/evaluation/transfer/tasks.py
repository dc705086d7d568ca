"""What is fine-tuned on: finding things by boxes and masks, and naming each pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import Dataset

from golang.data.images import ImageSet
from golang.engine.session import Session
from golang.evaluation.transfer.networks.types import Loss
from golang.evaluation.transfer.numbers import Protocol

Item = tuple[Any, ...]  # of one image: its position in the set, pixels and what is to be found in them


class Task(ABC):
    """A network and the images it learns from and is measured on."""

    protocol: Protocol
    network: nn.Module
    sizes: npt.NDArray[np.int32]  # width and height of each training image [N, 2]
    chosen: npt.NDArray[np.int64]  # the training images that hold something [n]
    workers: int

    @abstractmethod
    def item(self, epoch: int, index: int) -> Item:
        """Training image `index` as `epoch` sees it, a function of these two; in a loader's process."""

    @abstractmethod
    def losses(self, batch: list[Item], epoch: int) -> dict[str, Loss]:
        """This rank's part of each loss of a batch, and the count it is divided by once all ranks' are summed."""

    @abstractmethod
    def score(self, session: Session, folder: Path) -> dict[str, Any]:
        """The figures on the test images, mAP first, on rank 0; what was found is kept in `folder`. Raises Stopped."""

    @abstractmethod
    def facts(self) -> list[Any]:
        """What tells the images of this task from others."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What `network` can be built from again, as plain data."""

    def batches(self, parts: list[tuple[int, list[int]]]) -> Dataset[tuple[int, list[Item]]]:
        """The items of each (epoch, images)."""
        return _Batches(self.item, parts)


@dataclass(frozen=True)
class _Batches(Dataset[tuple[int, list[Item]]]):
    item: Callable[[int, int], Item]
    parts: list[tuple[int, list[int]]]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, step: int) -> tuple[int, list[Item]]:
        epoch, images = self.parts[step]
        return epoch, [self.item(epoch, index) for index in images]
