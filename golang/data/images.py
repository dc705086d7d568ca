"""A set of image files, with or without labels: what every reader returns."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang.data import decode
from golang.data.decode import UnreadableImageError
from golang.errors import DataError

T = TypeVar("T")
Labels = npt.NDArray[np.uint8] | None
Decoder = Callable[[bytes, bool], T]  # a file's bytes, and whether to turn it upright

MOST_UNREADABLE = 1  # percent of a set; with more than that it is not the set it should be
ASKING = 16  # threads that ask a file server for sizes at a time
_CHUNK = 1024  # files that a thread asks for in a row


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N image files below one folder.

    File names lie end to end in one array: a list of 118 thousand strings would be copied page by page into every
    loader process, because reading a Python object writes its reference count.

    Attributes:
        root: folder the names are relative to.
        names: uint8, all file names end to end, in the file system's encoding.
        offsets: int64 [N + 1]; name i is names[offsets[i]:offsets[i + 1]].
        labels: uint8 [N, classes], 1 where the image holds an object of the class; None for unlabelled sets.
        classes: the names of the columns of `labels`; empty for unlabelled sets.
        upright: images are turned as their EXIF orientation says.
        passed_over: files that lie there and are no part of the set: how many of each kind, by suffix or in words.
        notes: sentences about the set that a run's log should have.
    """

    root: Path
    names: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    labels: Labels = None
    classes: tuple[str, ...] = ()
    upright: bool = False
    passed_over: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, root: Path, names: Sequence[str], labels: Labels = None, classes: tuple[str, ...] = (),
        upright: bool = False, passed_over: Mapping[str, int] | None = None, notes: Sequence[str] = (),
    ) -> ImageSet:  # fmt: skip
        """The set of the files `names`, relative to `root`, in the given order."""
        encoded = [os.fsencode(name) for name in names]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(name) for name in encoded], out=offsets[1:])
        end_to_end = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        return cls(root, end_to_end, offsets, labels, classes, upright, dict(passed_over or {}), tuple(notes))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def name(self, index: int) -> str:
        """The name of image `index`, 0 ≤ index < N, relative to `root`. Raises IndexError outside of that."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of a set of {len(self)}")
        return os.fsdecode(self.names[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def path(self, index: int) -> Path:
        """Where image `index` lies. Raises as `name`."""
        return self.root / self.name(index)

    def content(self, index: int) -> bytes:
        """The bytes of image `index`, through which everything that reads an image goes. Raises UnreadableImageError
        when it is missing, and StorageError when the storage fails."""
        return decode.read_bytes(self.path(index))

    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each file, int64 [N]; −1 where it is missing."""
        found = np.empty(len(self), dtype=np.int64)

        def ask(start: int) -> None:
            for index in range(start, min(start + _CHUNK, len(self))):
                found[index] = _size(self.path(index))

        with ThreadPoolExecutor(ASKING) as pool:
            list(pool.map(ask, range(0, len(self), _CHUNK)))
        return found

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB. Raises UnreadableImageError, naming the file, when it is missing or damaged, and
        DataError when the storage fails."""
        return self._load(index, decode.decode)

    def _load(self, index: int, decoder: Decoder[T]) -> T:
        try:
            return decoder(self.content(index), self.upright)
        except UnreadableImageError as error:
            raise UnreadableImageError(f"cannot read image {index}, {self.path(index)}: {error}\n{REMEDY}") from error

    def load_nearest(self, index: int) -> tuple[Image.Image, int]:
        """As `nearest`, an RGB image."""
        return self.nearest(index, decode.decode)

    def nearest(self, index: int, decoder: Decoder[T]) -> tuple[T, int]:
        """Image `index`, or the next readable one in the order of the set (the first follows the last), and its index.
        It depends on the files alone, so every process takes the same. Raises DataError when more than MOST_UNREADABLE
        of the set lie unreadable in a row, or when the storage fails."""
        first: UnreadableImageError | None = None
        for step in range(max(1, self.most_unreadable) + 1):
            try:
                nearest = (index + step) % len(self)
                return self._load(nearest, decoder), nearest
            except UnreadableImageError as error:
                first = first or error
        raise DataError(f"{first}\nand so are the images after it: more than {MOST_UNREADABLE} % of the set")

    def with_classes(self, classes: tuple[str, ...]) -> ImageSet:
        """The same images with their columns in another order."""
        if self.labels is None or classes == self.classes:
            return self
        return replace(self, labels=self.labels[:, [self.classes.index(name) for name in classes]], classes=classes)

    def check_classes(self, other: ImageSet) -> None:
        """Raises DataError, saying where, if the columns of the labels of `other` mean something else."""
        if self.classes == other.classes:
            return
        pairs = zip_longest(self.classes, other.classes, fillvalue="none")
        column, (one, two) = next((at, pair) for at, pair in enumerate(pairs, 1) if pair[0] != pair[1])
        raise DataError(
            f"the labels of {self.root} ({len(self.classes)} classes) and of {other.root} ({len(other.classes)}) "
            f"disagree: class {column} is {one} there and {two} here; their label files are not of one set"
        )

    @property
    def said(self) -> list[str]:
        """What a log should have of the set: its notes, and what was passed over."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.passed_over.items()))
        return [*self.notes, *([f"passed over: {kinds}"] if kinds else [])]

    @property
    def most_unreadable(self) -> int:
        """How many images may be unreadable."""
        return len(self) * MOST_UNREADABLE // 100


def _size(path: Path) -> int:
    try:
        facts = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return -1
    return facts.st_size if stat.S_ISREG(facts.st_mode) else -1


REMEDY = (
    "`python -m golang.data check ROOT` lists all such files; restore them, those of a published set from its archive "
    "(deleting one's own makes it another set), then start the same command again"
)
