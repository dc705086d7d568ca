"""Whether a folder is a good place for runs: seen by all nodes, writable, lockable, roomy, quick to be safe."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from golang.disk import whole
from golang.runfolder.mounts import Mount, file_system
from launch.doctor import operations, quota
from launch.doctor.finding import Finding, check

# File systems that several machines see; FUSE ones are named fuse.NAME.
SHARED = (
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "panfs", "wekafs", "pvfs2", "orangefs", "afs", "cifs", "smb3",
    "ocfs2", "gfs2", "daos", "glusterfs", "vast",
)  # fmt: skip
# Mount options that are told: of locks, of caches, of what becomes of a write while the server is away.
_TOLD = (
    "ro", "vers", "flock", "noflock", "localflock", "localflocks", "nolock", "local_lock", "nobrl", "soft", "softerr",
    "sync", "noac", "nocto", "acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo", "lookupcache",
)  # fmt: skip
_BLOCK = 4 * 2**20  # bytes of the file that is timed
_SLOW = 1.0  # seconds for it
_LITTLE = 10 * 2**30  # bytes free that are few, where no checkpoint tells how many are needed
_FEW = 10_000  # files: a sweep keeps some 200 of code, and a run some 20 and ten an attempt


def look(folder: Path, needed: int, unseen: bool) -> Iterator[Finding]:
    """About `folder`, or the nearest that exists above it. `needed`: bytes, or 0; `unseen`: by the nodes so far."""
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    mount = file_system(place)
    there = f"{folder} is on {mount.kind} ({', '.join((mount.point, *_told(mount)))})"
    yield check(mount.kind.removeprefix("fuse.") in SHARED or not unseen, "file system", there,
                f"{there}, which often is this machine's alone",
                "--probe tries it from a node; runs_dir=PATH puts runs on a shared file system")  # fmt: skip
    if mount.late:
        yield Finding("ok", "attribute cache", f"what another machine writes may be seen {mount.late:g} s late; ranks "
                      "that wait for each other, and attempts, look again")  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as name:
            yield from operations.attempt_all(Path(name))
            took = _time_to_be_safe(Path(name))
    except OSError as error:
        yield Finding("fail", "run folder", f"can't write to {place}: {error.strerror}",
                      "choose another place with runs_dir=PATH")  # fmt: skip
        return
    rate = f"writable; {_BLOCK >> 20} MiB are safe on disk after {took * 1000:.0f} ms"
    yield check(took <= _SLOW, "run folder", rate, f"{rate}, which is slow",
                "a save takes as much longer: put runs on a quicker file system with runs_dir=PATH")  # fmt: skip
    yield from _room(place, mount, needed)


def _told(mount: Mount) -> Iterator[str]:
    """But for what is as it is without a word."""
    return (option for option in mount.options if option.partition("=")[0] in _TOLD and option != "local_lock=none")


def _room(place: Path, mount: Mount, needed: int) -> Iterator[Finding]:
    disk, own = os.statvfs(place), quota.ask(mount)
    free = disk.f_bavail * disk.f_frsize
    more = f"; the runs' checkpoints need up to {needed / 2**30:,.1f} GiB" if needed else ""
    yield _enough("room", f"{_gib(free)} free{more}", free, needed)
    if disk.f_files:  # else it has as many as there is room for
        yield check(disk.f_favail >= _FEW, "files left", f"{disk.f_favail:,}", f"{disk.f_favail:,}, and a sweep has "
                    "hundreds", "delete some, or choose another runs_dir=PATH")  # fmt: skip
    if own is None or own == quota.Quota(None, None):
        said = "no limit" if own else "not known: neither quota nor lfs quota says one; there may be less room"
        yield Finding("ok", "quota", said)
        return
    if own.space is not None:
        yield _enough("quota", f"{_gib(own.space)} left{more}", own.space, needed)
    if own.files is not None:
        yield check(own.files >= _FEW, "quota of files", f"{own.files:,} left", f"{own.files:,} left, and a sweep has "
                    "hundreds", "delete some, or choose another runs_dir=PATH")  # fmt: skip


def _enough(what: str, said: str, free: int, needed: int) -> Finding:
    if free < needed:
        return Finding("fail", what, said, "make room, lower checkpoint.keep_last, or choose another runs_dir=PATH")
    little = not needed and free < _LITTLE
    return check(not little, what, said, said, "a ResNet-50's run keeps 1 GiB and more: make room, or runs_dir=PATH")


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _time_to_be_safe(folder: Path) -> float:
    """Seconds, as a checkpoint is written; the median of three. Raises OSError."""
    times = []
    for number in range(3):
        began = time.monotonic()
        whole.put(folder / f"block{number}", lambda file: file.write(os.urandom(_BLOCK)))
        times.append(time.monotonic() - began)
    return statistics.median(times)
