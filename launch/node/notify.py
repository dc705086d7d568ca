"""News of a run that has ended for good: the shell line of notify.command, which notify.sh beside this file runs."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from golang import exits
from golang.runfolder import files
from golang.runfolder.folder import RunFolder
from golang.world import World

SCRIPT = Path(__file__).with_suffix(".sh")
log = logging.getLogger("golang")


@dataclass(frozen=True)
class End:
    """A run's end, of which there is news once: `life` is the job or the attempt that ended."""

    run_dir: Path
    state: Literal["finished", "failed", "cancelled"]
    life: str


def keep(run_dir: Path, command: str | None) -> None:
    """Puts the line into the run's folder, or takes the one of before away. Raises OSError."""
    file = RunFolder(run_dir).notify_file
    if command is None:
        file.unlink(missing_ok=True)
    else:
        files.write(file, f"{command}\n", durable=False)


def tell_of(run_dir: Path, command: str | None, attempts: Sequence[int], status: int) -> None:
    """Tells of a run that trained in this process, without a cluster: `attempts` are those before it, `status` is how
    it left. Of one that never began, or was stopped by a person, there is no news. Never raises."""
    run = RunFolder(run_dir)
    own = [number for number in run.attempt_numbers() if number not in attempts]
    if command is None or not own or World.read().rank or status in (exits.STOPPED, exits.BUSY, exits.INTERRUPTED):
        return
    try:
        keep(run_dir, command)
    except OSError as error:
        log.warning("no news of %s: %s", run_dir, error)
        return
    tell([End(run_dir, "failed" if status else "finished", f"attempt{own[-1]:02d}")])


def tell(ends: Sequence[End]) -> None:
    """Starts the line for each end in turn, beside this process and outliving it. Never raises: news is no work."""
    told = [end for end in ends if RunFolder(end.run_dir).notify_file.exists()]
    if not told:
        return
    words = [word for end in told for word in (str(end.run_dir), end.state, end.life)]
    try:
        subprocess.Popen(
            ["bash", str(SCRIPT), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        log.warning("no news of %s: %s", told[0].run_dir, error)
