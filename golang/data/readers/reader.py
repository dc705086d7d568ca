"""What every data set says of itself; `golang.data.readers.table` lists them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from golang.config import Data
from golang.data.images import ImageSet
from golang.errors import DataError

Split = Literal["train", "val"]
T = TypeVar("T")


class Reader(ABC):
    """A data set: how it is recognised below a root, checked, read and mended."""

    title: str  # for people
    splits: tuple[Split, ...] = ("train", "val")  # without "val": no labels
    covers: tuple[str, ...] = ("imagenet", "folder")  # the sets that its folder could be taken for as well
    # Published numbers, where there are any.
    images: Mapping[str, int] = {}  # by split
    without_objects: Mapping[str, int] = {}
    classes: int | None = None

    @abstractmethod
    def is_at(self, root: Path) -> bool:
        """Whether there are traces of the set below `root`."""

    @abstractmethod
    def check(self, root: Path, split: Split) -> object:
        """A glance at the disk. Raises DataError, with the layout expected, when folders are missing."""

    @abstractmethod
    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of a split, in the same order on every machine; labels that nobody asks for may be missing.
        Raises DataError when files are missing or contradict themselves."""

    @abstractmethod
    def remedy(self, root: Path, split: Split) -> str:
        """What to do about files of `split` that cannot be used."""

    def layout(self, root: Path) -> str:
        """The files expected below `root`, as the tail of an error message; or nothing."""
        return ""

    def root(self, data: Data) -> Path:
        """The folder that holds the set. Raises DataError when it has to be said and is not."""
        if data.root:
            return Path(data.root).expanduser()
        layout = self.layout(Path("FOLDER"))
        raise DataError(
            f"data={data.name} needs data.root=FOLDER, the folder that holds the images" + (layout and f"\n{layout}")
        )

    def open(self, data: Data, split: Split, labelled: bool = True) -> ImageSet:
        """As `read`, from where `data` says."""
        return self.read(self.root(data), split, labelled)


def first_of(*places: Path) -> Path:
    """The first that exists, else the last. torchvision's ImageFolder wants a class folder, so sets that were prepared
    for it have a fake one, tmp_root, which is looked into as well."""
    return next((place for place in places if place.exists()), places[-1])


def repeated(values: Sequence[T]) -> T | None:
    """The first that was there before; None if there is none."""
    seen: set[T] = set()
    return next((value for value in values if value in seen or seen.add(value)), None)  # type: ignore[func-returns-value]
