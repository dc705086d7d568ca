"""A node's own copy of a pack: STAGE/golang-UID/CHECKSUM, made once a node and shared by all runs there.

Files appear under their names once their SHA-256 holds, so a copy that was killed goes on with the next file. Beside
the folder lie two locks: CHECKSUM.copy is held by who copies, CHECKSUM.use is shared by all that read, so that only the
last one may remove the copy. Where something keeps it from being made, the pack is read where it lies.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from golang.config.paths import expanded
from golang.data.packed.index import Pack, fault, human
from golang.data.packed.shards import File
from golang.data.packed.verify import BLOCK
from golang.disk.locks import PAUSE, locked, opened, taken
from golang.errors import ConfigError, DataError

log = logging.getLogger(__name__)
PATIENCE = 120.0  # seconds without progress of the process that copies, which may have been suspended
_used: dict[Path, int] = {}  # copies that this process reads, and the locks that say so


class _NoCopyError(Exception):
    """Why there is no copy on this node, as a sentence."""


def copy(pack: Pack, splits: Sequence[str], stage: str, tick: Callable[[int], None]) -> str:
    """Copies the files of `splits` to the folder that `stage` names, unless they are there already; one process of a
    node does, the others wait. `tick` is called all the while with the bytes more that are there; what it raises ends
    this. Returns a sentence if there is no copy, and the pack will be read where it lies; else "".

    Raises ConfigError for a `stage` that names no folder, DataError for a damaged pack.
    """
    folder = _folder(pack, stage)
    files = [file for split in splits for file in pack.check(split).files]
    try:
        _make_private(folder)
        wait = _Wait(folder, tick)
        _use(folder, wait)
        with locked(folder.with_suffix(".copy"), wait):
            _copy(pack.root, folder, files, tick)
    except (_NoCopyError, OSError) as error:
        why = f"{error.filename or folder}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        return f"data.stage={stage} is not used on {socket.gethostname()}: {why}; reading from {pack.root}"
    return ""


def found(pack: Pack, split: str, stage: str | None) -> Path | None:
    """The folder on this node that holds the files of a split; None where it is not whole, or another user's."""
    if not stage:
        return None
    try:
        folder = _folder(pack, stage)
        for path in (folder.parent, folder):
            _check_private(path)
    except (_NoCopyError, ConfigError, OSError):
        return None
    return None if any(fault(folder / file.name, file) for file in pack.check(split).files) else folder


@contextlib.contextmanager
def released(keep: bool) -> Iterator[None]:
    """Once left, this process no longer uses the copies it has made or found, and unless they are to be kept the last
    one to leave removes them."""
    try:
        yield
    finally:
        while _used:
            folder, descriptor = _used.popitem()
            with contextlib.suppress(OSError):
                if not keep and taken(descriptor):
                    shutil.rmtree(folder)
            os.close(descriptor)


def _folder(pack: Pack, stage: str) -> Path:
    place = str(expanded(os.path.expandvars(stage)))
    if "$" in place or place[0] == "~" or not os.path.expandvars(stage):
        raise ConfigError(
            f"data.stage={stage} names a variable that is not set here, or a user that there is not; name a folder of "
            "the node's own, such as /tmp"
        )
    return Path(place).absolute() / f"golang-{os.getuid()}" / pack.checksum[:32]


def _make_private(folder: Path) -> None:
    """Raises _NoCopyError for what is not this user's alone, OSError."""
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, exist_ok=True)
        _check_private(path)


def _check_private(folder: Path) -> None:
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise _NoCopyError(f"{folder} is a link or a file")
    if facts.st_uid != os.getuid():
        raise _NoCopyError(f"{folder} belongs to another user ({facts.st_uid})")
    if facts.st_mode & 0o077:
        raise _NoCopyError(f"{folder} is open to others (chmod 700 closes it)")


class _Wait:
    """To be called while another process has the copy to itself. Raises _NoCopyError if it gets no further."""

    def __init__(self, folder: Path, tick: Callable[[int], None]) -> None:
        self._folder, self._tick = folder, tick
        self._bytes, self._since = 0, time.monotonic()

    def __call__(self) -> None:
        there = 0
        with contextlib.suppress(OSError):
            there = sum(path.stat().st_size for path in self._folder.iterdir())
        further, self._bytes = there - self._bytes, there
        self._tick(max(0, further))
        if further:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > PATIENCE:
            raise _NoCopyError(f"another process has {self._folder} to itself and gets no further")


def _use(folder: Path, wait: Callable[[], None]) -> None:
    """Shares the lock of those that read the copy, until `released`."""
    if folder in _used:
        return
    descriptor = opened(folder.with_suffix(".use"))
    try:
        while not taken(descriptor, shared=True):  # it is being removed
            wait()
            time.sleep(PAUSE)
        folder.mkdir(mode=0o700, exist_ok=True)
    except BaseException:
        os.close(descriptor)
        raise
    _used[folder] = descriptor


def _copy(source: Path, folder: Path, files: Sequence[File], tick: Callable[[int], None]) -> None:
    """Copies what is missing. Raises _NoCopyError where there is too little room, OSError, and DataError for damage."""
    for part in folder.glob("*.part"):  # of a copy that was killed
        part.unlink(missing_ok=True)
    missing = [file for file in files if fault(folder / file.name, file)]
    if not missing:
        return
    needed, free = sum(file.bytes for file in missing), shutil.disk_usage(folder).free
    if free < needed:
        raise _NoCopyError(
            f"the copy takes {human(needed)}, and {human(free)} are free there, {human(needed - free)} too little "
            f"(older copies in {folder.parent} may be deleted)"
        )
    log.info("copying %d files, %s, from %s to %s", len(missing), human(needed), source, folder)
    for file in missing:
        _copy_file(source / file.name, folder / file.name, file, tick)


def _copy_file(source: Path, target: Path, file: File, tick: Callable[[int], None]) -> None:
    digest, part = hashlib.sha256(), target.with_name(f"{target.name}.part")
    with source.open("rb") as original, part.open("wb") as copied:
        while block := original.read(BLOCK):
            digest.update(block)
            copied.write(block)
            tick(len(block))
        copied.flush()
        os.fsync(copied.fileno())
    if digest.hexdigest() != file.sha256:
        part.unlink(missing_ok=True)
        raise DataError(
            f"{source}: its SHA-256 is not the one it was written with: the pack is damaged; `python -m golang.data "
            f"check {source.parent}` says what else is. Restore it, or pack the set anew"
        )
    part.replace(target)
