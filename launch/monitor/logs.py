"""A rank's log of an attempt, printed or followed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from golang.runfolder.folder import Attempt, RunFolder
from launch.sweep.find import NotFoundError, Run

PAUSE = 0.2  # seconds between looks at a file that is followed


def log_file(run: Run, rank: int, attempt: int | None) -> Path:
    """The log of one rank in one attempt (default: the newest). Raises NotFoundError, naming what there is."""
    folder = RunFolder(run.path)
    numbers = folder.attempt_numbers()
    if not numbers:
        raise NotFoundError(f"{run.path.name} has not started yet: python -m launch status {run.identity or run.path}")
    chosen = numbers[-1] if attempt is None else attempt
    if chosen not in numbers:
        raise NotFoundError(f"{run.path.name} has no attempt {chosen}, only {', '.join(map(str, numbers))}")
    path = Attempt(folder, chosen).log_file(rank)
    if not path.is_file():
        there = sorted(file.stem.removeprefix("rank") for file in path.parent.glob("rank*.log"))
        raise NotFoundError(f"attempt {chosen} has no log of rank {rank}, only of {', '.join(there) or 'none'}")
    return path


def follow(run: Run, rank: int, ended: Callable[[], bool]) -> Iterator[str]:
    """The newest attempt's log as it grows, going on to the next attempt when there is one, until `ended`."""
    path: Path | None = None
    file: BinaryIO | None = None
    with contextlib.ExitStack() as opened:
        while True:
            last = ended()
            with contextlib.suppress(NotFoundError):
                if (newest := log_file(run, rank, None)) != path:
                    if file is not None:
                        yield file.read().decode(errors="replace") + f"--- attempt {newest.parent.name} ---\n"
                    path, file = newest, opened.enter_context(newest.open("rb"))
            if file is not None and (text := file.read().decode(errors="replace")):
                yield text
            if last:
                return
            time.sleep(PAUSE)
