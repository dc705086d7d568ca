"""A lock between the processes that see one file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PAUSE = 0.2  # seconds between tries
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what a file system without them says


@contextlib.contextmanager
def locked(path: Path, wait: Callable[[], None], needed: bool = True) -> Iterator[None]:
    """Holds the lock file `path` alone while entered; calls `wait` before each new try. Raises OSError, where the file
    system has no locks only if one is `needed`."""
    descriptor = opened(path)
    try:
        while not _is_free(descriptor, needed):
            wait()
            time.sleep(PAUSE)
        yield
    finally:
        os.close(descriptor)


def opened(path: Path) -> int:
    """A descriptor of a lock file, which is made if it is missing. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def taken(descriptor: int, shared: bool = False) -> bool:
    """Whether the lock could be had at once: alone, or together with others who share it. It goes with the last copy of
    the descriptor. Raises OSError."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(descriptor: int, needed: bool) -> bool:
    try:
        return taken(descriptor)
    except OSError as error:
        if needed or error.errno not in NO_LOCKS:
            raise
        return True
