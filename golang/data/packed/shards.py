"""A set whose images lie in shards, read by offset: one open file for thousands of images."""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golang.data import decode
from golang.data.decode import TRANSIENT, UnreadableImageError
from golang.data.images import ImageSet
from golang.errors import DataError

log = logging.getLogger(__name__)
_OPEN = 256  # shards a process keeps open; a quarter of what it may


@dataclass(frozen=True)
class File:
    """A file of a pack, as it was written."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedSet(ImageSet):
    """N images in the shards of a pack, whose folder is `root`.

    Attributes:
        shards: the archives.
        shard: int32 [N], in which of them an image lies.
        start: int64 [N], at which byte of it the image starts.
        size: int64 [N], how many bytes it has; −1 of one that could not be read when the set was packed.
        index: the file that says so.
        staged: a folder that holds the same shards nearer by; None without one.
    """

    shards: tuple[File, ...]
    shard: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    index: str
    staged: Path | None = None

    def path(self, index: int) -> Path:
        """The shard and the name in it, as in OUT/train-00003.tar:name.jpg. Raises as `name`."""
        name = self.name(index)
        return self.root / f"{self.shards[self.shard[index]].name if self.size[index] >= 0 else self.index}:{name}"

    def content(self, index: int) -> bytes:
        path, start, size = self.path(index), int(self.start[index]), int(self.size[index])
        if size < 0:
            raise UnreadableImageError("it could not be read when the set was packed")
        shard = self.shards[self.shard[index]]
        if self.staged is not None:
            try:
                return _read(self.staged, shard, start, size)
            except (OSError, EOFError) as error:
                _say(self.staged, self.root, _why(error))
        return decode.patiently(lambda: _read_whole(self.root, shard, start, size), path)

    def sizes(self) -> npt.NDArray[np.int64]:
        return self.size


def _read_whole(folder: Path, shard: File, start: int, size: int) -> bytes:
    """As `_read`; what will not pass is the pack's damage and not the image's. Raises DataError, OSError."""
    try:
        return _read(folder, shard, start, size)
    except (OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno in TRANSIENT:
            raise
        raise DataError(
            f"cannot read {folder / shard.name}: {_why(error)}; `python -m golang.data check {folder}` says what else "
            "is damaged. Restore it, or pack the set anew"
        ) from error


def _read(folder: Path, shard: File, start: int, size: int) -> bytes:
    """The bytes of a shard from `start` on. Raises OSError, and EOFError where it has no more."""
    try:
        opened = _opened(folder / shard.name, shard.sha256)
        data = os.pread(opened.descriptor, size, start)
        while len(data) < size:
            more = os.pread(opened.descriptor, size - len(data), start + len(data))
            if not more:
                raise EOFError(f"it ends at byte {start + len(data):,}, within an image")
            data += more
        return data
    except OSError:
        _opened.cache_clear()  # a file server may have lost what it knew of an open file
        raise


def _why(error: OSError | EOFError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


class _Open:
    """An open file, closed with the last reference to it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@functools.lru_cache(maxsize=_OPEN)
def _opened(path: Path, sha256: str) -> _Open:
    """Once a process; a forked one shares it, as reading by offset moves nothing."""
    return _Open(path)


@functools.lru_cache
def _say(staged: Path, root: Path, why: str) -> None:
    """Once a process."""
    log.warning("the copy in %s cannot be read (%s): reading from %s instead", staged, why, root)
