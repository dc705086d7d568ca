"""What every data set says of itself; `golang.data.readers.table` lists them by name."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from golang.config import Data
from golang.config.paths import expanded
from golang.data.images import ImageSet
from golang.errors import DataError

Split = Literal["train", "val"]
T = TypeVar("T")
NO_VAL = "has no images to evaluate on: {}, or hold some of the labelled images out with data.holdout=0.2"
PROBE = 3  # files looked for before training starts; one of several that is missing counts as unreadable


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

    def check_packed(self, data: Data, root: Path) -> None:  # noqa: B027 - most sets are one set, whatever `data` says
        """Raises DataError if the pack of this set in `root` is not the one that `data` asks for."""

    def layout(self, root: Path) -> str:
        """The files expected below `root`, as the tail of an error message; or nothing."""
        return ""

    def root(self, data: Data) -> Path:
        """The folder that holds the set. Raises DataError when it has to be said and is not."""
        if data.root:
            return expanded(data.root)
        layout = self.layout(Path("FOLDER"))
        raise DataError(
            f"data={data.name} needs data.root=FOLDER, the folder that holds the images" + (layout and f"\n{layout}")
        )

    def look(self, data: Data, split: Split) -> None:
        """As `check`, where `data` says."""
        self.check(self.root(data), split)

    def open(self, data: Data, split: Split, labelled: bool = True) -> ImageSet:
        """As `read`, from where `data` says."""
        return self.read(self.root(data), split, labelled)

    def splits_of(self, data: Data) -> Sequence[Split]:
        """The splits that `data` has."""
        return self.splits

    def matched(self, train: ImageSet, val: ImageSet) -> ImageSet:
        """`val`, whose columns mean what those of `train` do. Raises DataError where they cannot."""
        train.check_classes(val)
        return val

    def words(self, data: Data) -> str:
        """What `python -m golang.data check` is given to look at the set, quoted for a shell."""
        return shlex.quote(str(self.root(data)))


class Own(Reader):
    """A set of one's own, which `data.root` or `data.train` and `data.val` describe."""

    name: Literal["coco", "folder", "list"]
    covers: tuple[str, ...] = ()

    def check(self, root: Path, split: Split) -> None:
        self.look(Data(name=self.name, root=str(root)), split)

    def read(self, root: Path, split: Split = "train", labelled: bool = True) -> ImageSet:
        """As `open`, of the set whose data.root is `root`."""
        return self.open(Data(name=self.name, root=str(root)), split, labelled)

    def remedy(self, root: Path, split: Split) -> str:
        return "restore these files (deleting them makes it another set)"

    @abstractmethod
    def look(self, data: Data, split: Split) -> None: ...

    @abstractmethod
    def open(self, data: Data, split: Split, labelled: bool = True) -> ImageSet: ...

    def matched(self, train: ImageSet, val: ImageSet) -> ImageSet:
        """`val` with its columns in the order of `train`. Raises DataError for a class that one of them alone has."""
        said = f"the training images ({train.root})", f"the validation images ({val.root})"
        for one, other, (its, others) in ((train, val, said), (val, train, said[::-1])):
            if alone := [name for name in one.classes if name not in other.classes]:
                raise DataError(
                    f"class {alone[0]!r} is one of the {len(one.classes)} of {its} and none of the "
                    f"{len(other.classes)} of {others}; both must name the same classes, in any order"
                )
        return val.with_classes(train.classes)

    def words(self, data: Data) -> str:
        places = data.train.images or (str(self.root(data)),)
        apart = ["--separator", data.separator] if data.separator != Data().separator else []
        return shlex.join([*places, "--set", self.name, *apart])


def first_of(*places: Path) -> Path:
    """The first that exists, else the last. torchvision's ImageFolder wants a class folder, so sets that were prepared
    for it have a fake one, tmp_root, which is looked into as well."""
    return next((place for place in places if place.exists()), places[-1])


def repeated(values: Sequence[T]) -> T | None:
    """The first that was there before; None if there is none."""
    seen: set[T] = set()
    return next((value for value in values if value in seen or seen.add(value)), None)  # type: ignore[func-returns-value]


def drawn(names: Sequence[str], share: float) -> npt.NDArray[np.int64]:
    """Which of `names` are held out, int64 [n] in rising order: a share of them, but at least one and never all. The
    names alone decide, not their order."""
    count = min(max(1, round(share * len(names))), max(0, len(names) - 1))
    digests = [hashlib.sha256(os.fsencode(name)).digest() for name in names]
    return np.sort(np.array(sorted(range(len(names)), key=digests.__getitem__)[:count], dtype=np.int64))


def placed(name: object, folder: str) -> str:
    """Where a file lies that a list or an annotation file names, absolute; relative names are below `folder`. Raises
    ValueError with what is wrong of it, to stand behind the name: what others wrote leaves no folder by `..`."""
    if not isinstance(name, str) or not name:
        raise ValueError("is no file name")
    path = name.replace("\\", "/")
    if "\0" in path or ".." in path.split("/"):
        raise ValueError("leaves the folder of images; write it from the root of the file system on, without ..")
    if re.match("[A-Za-z]:/", path):
        raise ValueError("is a path of Windows; write it relative to the folder of images")
    if path.startswith("~/"):
        path = str(expanded(path))
    return "/" + os.path.normpath(path if path.startswith("/") else f"{folder}/{path}").lstrip("/")


def rooted(paths: Sequence[str], folders: Iterable[str] = ()) -> tuple[Path, list[str]]:
    """The folder that has all of `paths` and `folders` in it, all absolute, and `paths` relative to it."""
    root = os.path.commonpath({*folders, *(path.rpartition("/")[0] or "/" for path in paths)})
    cut = len(root.rstrip("/")) + 1
    return Path(root), [path[cut:] for path in paths]


def refuse_absent(images: ImageSet, what: str) -> None:
    """Raises DataError, which ends with `what`, if none of the first images is there."""
    first = [images.path(index) for index in range(min(PROBE, len(images)))]
    if first and not any(path.is_file() for path in first):
        raise DataError(f"{first[0]} does not exist, nor the next ones; {what}")
