"""One owner at a time: a lock file that says who holds it, and is free as soon as that process is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 8.0  # seconds for an owner that is dying to let go
_PAUSE = 0.1  # seconds between tries


class HeldError(Exception):
    """Another process owns the lock; its text says which."""


@contextlib.contextmanager
def hold(path: Path, patience: float | None = None) -> Iterator[int]:
    """Owns the lock file `path` while entered; its descriptor, which a child that keeps it open holds as well.

    Raises HeldError after `patience` seconds (default: PATIENCE), OSError.
    """
    # Not through a link: what it says of its holder must not end up in another file.
    with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "a+") as file:
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise HeldError(file.read().strip() or "another process") from None
                time.sleep(_PAUSE)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")
        file.flush()
        yield file.fileno()
