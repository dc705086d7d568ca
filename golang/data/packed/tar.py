"""Tar archives, a member at a time: POSIX ustar, with a pax header before a name that does not fit there."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

BLOCK = 512
_END = bytes(2 * BLOCK)
_SHORT = 100  # bytes of a name that fits into the header


class Writer:
    """Writes an archive to `file` and takes its SHA-256 meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self.bytes = 0  # written so far
        self._file, self._digest = file, hashlib.sha256()

    def add(self, name: str, content: bytes, modified: int) -> int:
        """Adds a file last changed `modified` seconds after 1970. Returns at which byte its content starts."""
        info = tarfile.TarInfo(name.lstrip("/"))
        info.size, info.mtime = len(content), modified
        self._put(_header(info))
        start = self.bytes
        self._put(content)
        self._put(bytes(-len(content) % BLOCK))
        return start

    def close(self) -> str:
        """Ends the archive; its SHA-256."""
        self._put(_END)
        return self._digest.hexdigest()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)


def _header(info: tarfile.TarInfo) -> bytes:
    """A name that is no UTF-8 stands in ustar as it is, for `tar` knows none of pax's words for such; if it is not too
    long."""
    try:
        info.name.encode()
    except UnicodeEncodeError:
        with contextlib.suppress(ValueError):
            return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def room(
    names: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """At most how many bytes each member takes, int64 [N]; nothing where there is no file (size −1). Names lie end to
    end, name i at names[offsets[i]:offsets[i + 1]]."""
    lengths = np.diff(offsets)
    odd = np.add.reduceat(names >= 128, offsets[:-1], dtype=np.int64) > 0 if len(sizes) else lengths > 0
    pax = np.where(odd | (lengths > _SHORT), 2 * BLOCK + _padded(lengths + BLOCK), 0)
    return np.where(sizes < 0, 0, BLOCK + pax + _padded(sizes))


def _padded(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return -(-sizes // BLOCK) * BLOCK
