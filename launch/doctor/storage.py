"""Whether a folder is a good place for runs: seen by all nodes, writable, roomy, quick to be safe."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from golang.runfolder import files
from launch.doctor.finding import Finding, check

# File systems that several machines see; FUSE ones are named fuse.NAME.
SHARED = (
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "panfs", "wekafs", "pvfs2", "orangefs", "afs", "cifs", "smb3",
    "ocfs2", "gfs2", "daos", "glusterfs", "vast",
)  # fmt: skip
_BLOCK = 4 * 2**20  # bytes of the file that is timed
_SLOW = 1.0  # seconds for it
_LITTLE = 10 * 2**30  # bytes free that are few, where no checkpoint tells how many are needed


def look(folder: Path, needed: int, unseen: bool) -> Iterator[Finding]:
    """About `folder`, or the nearest that exists above it. `needed`: bytes, or 0; `unseen`: by the nodes so far."""
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    kind, point = file_system(place)
    there = f"{folder} is on {kind} ({point})"
    yield check(kind.removeprefix("fuse.") in SHARED or not unseen, "file system", there,
                f"{there}, which often is this machine's alone",
                "--probe tries it from a node; runs_dir=PATH puts runs on a shared file system")  # fmt: skip
    try:
        took = _time_to_be_safe(place)
    except OSError as error:
        yield Finding("fail", "run folder", f"can't write to {place}: {error.strerror}",
                      "choose another place with runs_dir=PATH")  # fmt: skip
        return
    rate = f"writable; {_BLOCK >> 20} MiB are safe on disk after {took * 1000:.0f} ms"
    yield check(took <= _SLOW, "run folder", rate, f"{rate}, which is slow",
                "a save takes as much longer: put runs on a quicker file system with runs_dir=PATH")  # fmt: skip
    free, more = shutil.disk_usage(place).free, f"; the runs' checkpoints need up to {needed / 2**30:,.1f} GiB"
    said = f"{free / 2**30:,.1f} GiB free (a quota may leave less){more if needed else ''}"
    if free < needed:
        yield Finding("fail", "room", said, "make room, lower checkpoint.keep_last, or choose another runs_dir=PATH")
    elif not needed and free < _LITTLE:
        yield Finding("warn", "room", said, "a ResNet-50's run keeps 1 GiB and more: make room, or runs_dir=PATH")
    else:
        yield Finding("ok", "room", said)


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> tuple[str, str]:
    """The type of the file system that holds `folder`, and where it is mounted; ("unknown", "") where no one says."""
    found, place = ("unknown", ""), folder.resolve()
    for line in mounts.read_text().splitlines() if mounts.is_file() else ():  # a later mount hides an earlier one
        left, _, right = line.partition(" - ")
        point = Path(left.split(" ")[4].encode().decode("unicode_escape"))
        if (place == point or point in place.parents) and len(str(point)) >= len(found[1]):
            found = (right.split(" ")[0], str(point))
    return found


def _time_to_be_safe(folder: Path) -> float:
    """Seconds, as a checkpoint is written; the median of three. Raises OSError."""
    times = []
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as name:
        for number in range(3):
            began = time.monotonic()
            files.put(Path(name) / str(number), lambda file: file.write(os.urandom(_BLOCK)))
            times.append(time.monotonic() - began)
    return statistics.median(times)
