"""What is fine-tuned on: finding things by boxes and masks, and naming each pixel."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn
from torch.utils.data import Dataset

from golang.data.loader import Loader, close, own_words
from golang.engine.session import Session
from golang.errors import DataError
from golang.evaluation.features import cut
from golang.evaluation.transfer.networks.types import Loss
from golang.evaluation.transfer.numbers import Protocol

T = TypeVar("T")
ASK_EVERY = 8  # test images between two questions whether to stop
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

    def tests(self, session: Session, total: int, view: Callable[[int], T]) -> Iterator[T]:
        """`view`, in a loader's process, of each of this rank's part of `total` test images. All ranks ask equally
        often whether to stop. Raises Stopped, and DataError for an image that cannot be read."""
        world, pinned = session.rank.world, session.rank.device.type == "cuda"
        shares = [range(total)[cut(total, rank, world.size)] for rank in range(world.size)]
        views = iter(Loader(_Each(view, shares[world.rank]), self.workers, batch_size=None, pin_memory=pinned))
        try:
            for _ in range(0, max(map(len, shares)), ASK_EVERY):
                session.ask()
                yield from itertools.islice(views, ASK_EVERY)
        except DataError as error:
            raise own_words(error) from None
        finally:
            close(views)

    def batches(self, parts: list[tuple[int, list[int]]]) -> Dataset[tuple[int, list[Item]]]:
        """The items of each (epoch, images)."""
        return _Batches(self.item, parts)


@dataclass(frozen=True)
class _Each(Dataset[T]):
    view: Callable[[int], T]
    images: range

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> T:
        return self.view(self.images[row])


@dataclass(frozen=True)
class _Batches(Dataset[tuple[int, list[Item]]]):
    item: Callable[[int, int], Item]
    parts: list[tuple[int, list[int]]]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, step: int) -> tuple[int, list[Item]]:
        epoch, images = self.parts[step]
        return epoch, [self.item(epoch, index) for index in images]
