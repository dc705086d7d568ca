"""What a user may still write by the word of `quota` or `lfs quota`: a full quota ends a run on a disk with room."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from dataclasses import dataclass

from golang.runfolder.mounts import Mount

_PATIENCE = 20.0  # seconds: a file server that is away keeps them waiting
# Kibibytes used ("*": too many), quota, limit, grace; the same of files. 0 is no limit.
_ROW = re.compile(r"\s(\d+)\*?\s+(\d+)k?\s+(\d+)k?\s+\S+\s+(\d+)\*?\s+(\d+)\s+(\d+)\s+\S+\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Quota:
    """What is left of it; None where there is no limit."""

    space: int | None  # bytes
    files: int | None


def ask(mount: Mount) -> Quota | None:
    """The quota of this user on a file system; None if nobody here knows one."""
    # Both programs then write a row as above; without -p the first leaves the times of grace empty.
    lustre = mount.kind == "lustre"
    command = ["lfs", "quota", "-q", "-u", getpass.getuser()] if lustre else ["quota", "-p", "-w", "-f"]
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            [*command, mount.point], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_PATIENCE, check=False,  # it fails for a quota that is exceeded, too
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError):
        return None
    return read(done.stdout)


def read(text: str) -> Quota | None:
    """What one of the two programs said; None where no limit stands in it."""
    if (row := _ROW.search(text)) is None:
        return None
    used, soft, hard, files, few, most = map(int, row.groups())
    space = max(0, (hard or soft) - used) * 1024 if hard or soft else None
    return Quota(space, max(0, (most or few) - files) if most or few else None)
