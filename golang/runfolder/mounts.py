"""What a folder lies on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

# By which a lock that one machine takes is free on all others: of NFS, Lustre, GFS2 and OCFS2, and CIFS.
_OWN_LOCKS = ("nolock", "local_lock=flock", "local_lock=all", "localflock", "localflocks", "nobrl")
_CACHED = 60.0  # seconds for which NFS believes what it knows of a file or a folder, unless an option says otherwise


class Mount(NamedTuple):
    """A file system as this machine has it."""

    kind: str = "unknown"
    point: str = ""
    options: tuple[str, ...] = ()

    @property
    def own_locks(self) -> str:
        """The option by which locks are each machine's own; "" without one."""
        return next((option for option in self.options if option in _OWN_LOCKS), "")

    @property
    def late(self) -> float:
        """Seconds for which NFS may show files and folders as they were before another machine wrote; 0 elsewhere."""
        if self.kind not in ("nfs", "nfs4") or "noac" in self.options:
            return 0.0
        told = dict(option.partition("=")[::2] for option in self.options)
        limits = [told.get(name, "") for name in ("acregmax", "acdirmax")]
        return max(float(limit) if limit.isdecimal() else _CACHED for limit in limits)


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Mount:
    """The file system that holds `folder`, which need not exist; the unknown one where no one says."""
    found, place = Mount(), folder.resolve()
    for line in mounts.read_text().splitlines() if mounts.is_file() else ():  # a later mount hides an earlier one
        left, _, right = line.partition(" - ")
        own, (kind, _, shared) = left.split(" "), right.split(" ", 2)
        point = Path(own[4].encode().decode("unicode_escape"))
        if (place == point or point in place.parents) and len(str(point)) >= len(found.point):
            found = Mount(kind, str(point), tuple(dict.fromkeys(f"{own[5]},{shared}".split(","))))
    return found
