"""What runs ask of a file system, each tried in a folder that goes again. (Hard links they never ask for.)"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from golang.errors import DataError
from golang.runfolder import files, lock
from golang.runfolder.mounts import file_system
from launch.doctor.finding import Finding, check

ALONE = (
    "runs go on without, by Slurm's queue and by leaving to a newer attempt; type a command on one machine alone, or "
    f"have it mounted with locks that machines share ({lock.SHARED})"
)
_ELSEWHERE = "choose another place with runs_dir=PATH"


def attempt_all(folder: Path) -> Iterator[Finding]:
    """In `folder`, made by this process for its user alone. Raises OSError where it can't be written to."""
    yield from _privacy(folder)
    yield _locks(folder)
    yield _replacing(folder)


def _privacy(folder: Path) -> Iterator[Finding]:
    """Whose the folder is, and for whom: an export with root_squash gives root's files to nobody."""
    found, me = folder.stat(), os.geteuid()
    if found.st_uid != me:
        yield Finding("fail", "owner", f"what {_name(me)} makes there belongs to {_name(found.st_uid)}",
                      f"an export with root_squash takes root's files: be another user, or {_ELSEWHERE}")  # fmt: skip
        return
    mode = found.st_mode & 0o777
    yield check(mode == 0o700, "owner", f"{_name(me)}; folders are for this user alone (700)",
                f"folders that are made for {_name(me)} alone (700) have mode {mode:o}",
                f"others may read the runs, or write to them: {_ELSEWHERE}")  # fmt: skip


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _locks(folder: Path) -> Finding:
    path = folder / "lock"
    with path.open("a") as one, path.open("a") as other:
        try:
            works = lock.take(one, path) and not lock.take(other, path)
        except DataError as error:
            reason = getattr(error.__cause__, "strerror", "")
            return Finding("fail", "locks", f"flock: {reason}; no run starts without locks",
                           f"have it mounted with them ({lock.SHARED}), or {_ELSEWHERE}")  # fmt: skip
        except OSError as error:
            return Finding("fail", "locks", f"flock: {error.strerror}; no run starts without locks", _ELSEWHERE)
    if own := file_system(folder).own_locks:
        return Finding(
            "warn", "locks", f"mounted with {own}: a lock that one machine holds is free on all others", ALONE
        )
    return check(works, "locks", "flock works on this machine (--probe tries it between two)",
                 "flock gives one lock to two: two processes could write one run", _ELSEWHERE, "fail")  # fmt: skip


def _replacing(folder: Path) -> Finding:
    """As checkpoints, settings and heartbeats are written, and the ledger is."""
    path = folder / "file"
    try:
        files.write(path, "before", durable=False)
        with path.open() as held:
            files.write(path, "now", durable=False)
            replaced = (held.read(), path.read_text()) == ("before", "now")
        with path.open("ab", buffering=0) as one, path.open("ab", buffering=0) as other:
            for number, file in enumerate((one, other, one)):
                file.write(b"%d" % number)
        appended = path.read_text() == "now012"
    except OSError as error:
        return Finding("fail", "files", f"an open file can't be replaced or appended to: {error.strerror}", _ELSEWHERE)
    wrong = "a reader of a file that is replaced gets the new one" if not replaced else "lines of two writers mix"
    return check(replaced and appended, "files", "replaced whole while they are read; two writers append in turn",
                 wrong, _ELSEWHERE, "fail")  # fmt: skip
