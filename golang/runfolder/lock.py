"""One owner at a time: a lock file that says who holds it, and is free as soon as that process is gone.

A node that Slurm has given up may only be frozen, with owners that hold on for ever: the next life of the same job
overtakes them. It puts a lock file of its own in the place of theirs, which nobody will find any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

from golang.disk import locks, whole
from golang.errors import DataError
from golang.runfolder.mounts import file_system

PATIENCE = 8.0  # seconds for an owner that is dying to let go
SHARED = "Lustre: -o flock; NFS: version 4, or 3 with rpc.statd on clients and server, without nolock and local_lock"


class HeldError(Exception):
    """Another process owns the lock; its text says which."""


@contextlib.contextmanager
def hold(path: Path, patience: float | None = None) -> Iterator[int]:
    """Owns the lock file `path` while entered; its descriptor, which a child that keeps it open holds as well.

    After `patience` seconds (default: PATIENCE) overtakes an owner of an earlier life of this Slurm job, and raises
    HeldError because of any other. Raises OSError, and DataError as `take`.
    """
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        # Not through a link: what it says of its holder must not end up in another file.
        opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(opened, "a+") as file:
            if take(file, path):
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
                whole.put(path, lambda fresh: None, durable=False)
        time.sleep(0.1)


def take(file: IO[Any], path: Path) -> bool:
    """Locks an open file, at `path`, unless another open file of it is locked. The lock goes with the last copy of the
    handle. Raises DataError where the file system has no such locks."""
    try:
        return locks.taken(file.fileno())
    except OSError as error:
        if error.errno not in locks.NO_LOCKS:
            raise
        mount = file_system(path.parent)
        raise DataError(
            f"can't lock {path}: flock: {error.strerror}. The file system, {mount.kind} at {mount.point or '/'}, has "
            f"no locks, and without them two processes could write one run. Have it mounted with them ({SHARED}), or "
            "choose a place on another with runs_dir=PATH (for one run here run_dir=PATH)"
        ) from error


def doubt(folder: Path) -> str:
    """A sentence where mount options say that a lock below `folder` is free on all other machines; "" if none does."""
    mount = file_system(folder)
    if not mount.own_locks:
        return ""
    return (
        f"{folder} is on {mount.kind} at {mount.point}, mounted with {mount.own_locks}: a lock that one machine holds "
        "is free on all others. So a run there relies on Slurm, which runs one life of a job at a time, on the "
        "launcher's look into Slurm's queue, and on attempts that leave once a newer one has begun; the same command "
        "typed on two machines at once may start a run twice. Type it on one, or have the file system mounted with "
        f"locks that machines share ({SHARED})"
    )


def held(path: Path) -> bool:
    """Whether a process on a machine that shares the file's locks owns it now."""
    try:
        with path.open("r+") as file:
            return not take(file, path)
    except (OSError, DataError):
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
