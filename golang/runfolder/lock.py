"""One owner at a time: a lock file that says who holds it, and is free as soon as that process is gone.

A node that Slurm has given up may only be frozen, with owners that hold on for ever: the next life of the same job
overtakes them. It puts a lock file of its own in the place of theirs, which nobody will find any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

from golang.runfolder import files

PATIENCE = 8.0  # seconds for an owner that is dying to let go


class HeldError(Exception):
    """Another process owns the lock; its text says which."""


@contextlib.contextmanager
def hold(path: Path, patience: float | None = None) -> Iterator[int]:
    """Owns the lock file `path` while entered; its descriptor, which a child that keeps it open holds as well.

    After `patience` seconds (default: PATIENCE) overtakes an owner of an earlier life of this Slurm job, and raises
    HeldError because of any other. Raises OSError.
    """
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        # Not through a link: what it says of its holder must not end up in another file.
        opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(opened, "a+") as file:
            if take(file):
                if not _lies_at(file, path):
                    continue  # overtaken between opening and locking
                file.truncate(0)
                file.write(_owner())
                file.flush()
                yield file.fileno()
                return
            if time.monotonic() > deadline:
                file.seek(0)
                owner = file.read().strip()
                if not _earlier_life(owner):
                    raise HeldError(owner or "another process")
                files.put(path, lambda fresh: None, durable=False)
        time.sleep(0.1)


def take(file: IO[Any]) -> bool:
    """Locks an open file, unless another open file of it is locked. The lock goes with the last copy of the handle."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def held(path: Path) -> bool:
    """Whether a process on a machine that shares the file's locks owns it now."""
    try:
        with path.open("r+") as file:
            return not take(file)
    except OSError:
        return False


def _lies_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _owner() -> str:
    job, restarts = _life()
    life = f", job {job} after {restarts} restarts" if job else ""
    return f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%dT%H:%M:%S%z')}{life}\n"


def _life() -> tuple[str, int]:
    """The Slurm job that this process is part of, and how often it had been requeued."""
    return os.environ.get("SLURM_JOB_ID", ""), int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _earlier_life(owner: str) -> bool:
    job, restarts = _life()
    match = re.search(r"job (\S+) after (\d+) restarts$", owner)
    return match is not None and match[1] == job and int(match[2]) < restarts
