"""What every data set says of itself; `golang.data.readers.table` lists them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from golang.config import Data
from golang.data.images import ImageSet
from golang.errors import DataError

Split = Literal["train", "val"]


class Reader(ABC):
    """A data set: how it is recognised below a root, checked, read and mended.

    Attributes:
        title: its name for people.
        splits: what it consists of; a set without "val" has no labels.
        covers: names of the sets that its folder could be taken for as well.
        images: the published number of images by split, if any.
        without_objects: how many of them hold no object, where that is known.
        classes: the published number of classes.
    """

    title: str
    splits: tuple[Split, ...] = ("train", "val")
    covers: tuple[str, ...] = ("imagenet", "folder")
    images: Mapping[str, int] = {}
    without_objects: Mapping[str, int] = {}
    classes: int | None = None

    @abstractmethod
    def is_at(self, root: Path) -> bool:
        """Whether there are traces of the set below `root`."""

    @abstractmethod
    def check(self, root: Path, split: Split) -> object:
        """A glance at the disk. Raises DataError, with the layout expected, when files of `split` are missing."""

    @abstractmethod
    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of a split, in an order that is the same on every machine. Labels that are not asked for may be
        there or not. Raises DataError when files are missing or contradict themselves."""

    @abstractmethod
    def remedy(self, root: Path, split: Split) -> str:
        """What to do about files of `split` that cannot be used."""

    def layout(self, root: Path) -> str:
        """The files expected below `root`, as the tail of an error message; empty if there is nothing to say."""
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


def repeated(names: Iterable[str]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
