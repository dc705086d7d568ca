"""A sweep's runs on this machine without Slurm: their processes, and whose turn it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from golang.runfolder import lock
from golang.runfolder.folder import RunFolder
from launch.slurm import COMMENT, LOCAL, Job
from launch.sweep.find import Run
from launch.sweep.paths import Sweep


def jobs(sweep: Path) -> list[Job]:
    """Those that are on this machine now, as Slurm would list them."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and (folder := _folder(process, sweep)) is not None:
            found.append(Job(LOCAL + process.name, "RUNNING", int(folder.name), comment=COMMENT + folder.parent.name))
    return found


def controller(run: Run) -> int | None:
    """The process that submitit's local executor left in charge of the run, while it lives; None without one."""
    pid = run.job.removeprefix(LOCAL)
    own = pid != run.job and pid.isdecimal() and _folder(Path("/proc", pid), run.sweep) is not None
    return int(pid) if own else None


def _folder(process: Path, sweep: Path) -> Path | None:
    """Where a controller of the sweep's keeps its run, submissions/ID/NUMBER; None for any other process."""
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        if words[1:3] == [b"-m", b"submitit.local._local"] and len(words) > 3:
            folder = Path(os.fsdecode(words[3])).resolve()
            ours = folder.parent.parent == Sweep(sweep).submissions.resolve() and folder.name.isdecimal()
            return folder if ours else None
    return None


def stop(run: Run) -> bool:
    """Asks a run that trains here to save and stop, or not to start when its turn comes; False if there is none."""
    for pid in (controller(run), _owner(RunFolder(run.path))):  # the former passes it on to the run's processes
        with contextlib.suppress(OSError):
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
                return True
    return False


def _owner(run: RunFolder) -> int | None:
    """The process that trains the run here. The folder's word is not enough: it has to hold the lock."""
    status = last.status() if (last := run.last_attempt()) else {}
    pid, ours = status.get("pid"), status.get("host") == socket.gethostname()
    with contextlib.suppress(OSError):
        links = Path(f"/proc/{pid}/fd").iterdir() if isinstance(pid, int) and ours and run.held else ()
        return pid if any(link.samefile(run.lock_file) for link in links if link.exists()) else None
    return None


@contextlib.contextmanager
def turn(sweep: Path, slots: int) -> Iterator[None]:
    """Waits until fewer runs of the sweep than `slots` are under way here."""
    with contextlib.ExitStack() as held:
        files = [held.enter_context(Sweep(sweep).turn_file(number).open("a")) for number in range(slots)]
        while not any(lock.take(file, Path(file.name)) for file in files):
            time.sleep(0.5)
        yield
