"""A file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")


def put(
    path: Path, fill: Callable[[BinaryIO], T], durable: bool = True, work: Path | None = None, mode: int = 0o600
) -> T:
    """Puts what `fill` writes at `path`: the file holds the old content or the new one, whatever happens. A handle to
    the old file stays with the old file; `durable` also outlasts a power cut, and waits for the disk. Returns what
    `fill` returns. Raises OSError.

    Args:
        work: folder of the same file system for what is being written; by itself the file's own.
        mode: of the file, less what the umask takes.
    """
    temporary = (work or path.parent) / f".{path.name}.{os.getpid()}.tmp"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            result = fill(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return result
