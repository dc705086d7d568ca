"""Saves an attempt's checkpoints in the background, and drops those no longer kept."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from golang.engine.snapshot import Snapshot
from golang.runfolder.checkpoints import Entry, entries, human, lineage
from golang.runfolder.folder import Attempt
from golang.weights import sealed

log = logging.getLogger(__name__)


def _free(folder: Path) -> str:
    try:
        return human(shutil.disk_usage(folder).free)
    except OSError:
        return "unknown amounts"


class Saver:
    """Writes checkpoints of one attempt in the background, one at a time, and drops those no longer kept."""

    def __init__(
        self, attempt: Attempt, keep_last: int, resume: Path | None = None,
        periodic: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        """`resume`: the checkpoint that the attempt goes on from; `periodic`: told how long the first save took."""
        self.attempt, self.keep_last, self.periodic = attempt, keep_last, periodic
        self.last = resume
        self.last_step = entry.step if resume and (entry := Entry.of(resume)) else None
        self.seconds: float | None = None  # that the last save took to be safe on disk
        self._milestone: Callable[[int], bool] = lambda step: False
        self._thread: threading.Thread | None = None
        for leftover in attempt.run.checkpoints.glob(".step_*.tmp"):
            leftover.unlink(missing_ok=True)

    def keep(self, milestone: Callable[[int], bool]) -> None:
        """Which steps' checkpoints are kept for good, besides the last `keep_last`."""
        self._milestone = milestone

    def submit(self, step: int, state: Mapping[str, Any]) -> None:
        """Takes a copy of `state` and returns; waits first for the save before it."""
        self.wait()
        self._thread = threading.Thread(target=self._save, args=(step, Snapshot(state)), name="saver")
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _save(self, step: int, state: Snapshot) -> None:
        path = Entry.at(self.attempt.run, step, self.attempt.number).path
        began = time.monotonic()
        try:
            sealed.write(path, state.read())
        except Exception as error:  # training goes on, and the next save may fit
            log.error(
                "a checkpoint of %s could not be written to %s, where %s are free: %s; %s",
                human(state.size), path.parent, _free(path.parent), getattr(error, "strerror", None) or repr(error),
                f"{self.last} still stands" if self.last else "there is no checkpoint yet",
            )  # fmt: skip
            return
        self.last, self.last_step, self.seconds = path, step, time.monotonic() - began
        try:
            self._retain()
        except OSError as error:
            log.warning("a checkpoint that is no longer needed could not be deleted: %s", error)
        periodic, self.periodic = self.periodic, None
        if periodic is not None:
            periodic(self.seconds)

    def _retain(self) -> None:
        if not self.attempt.newest:
            return  # overtaken: the files now belong to a newer attempt
        chain = lineage(self.attempt.run, self.attempt.number)
        kept = {entry.path for entry in chain[: self.keep_last]}
        for entry in entries(self.attempt.run):
            if entry.path not in kept and not (entry in chain and self._milestone(entry.step)):
                entry.path.unlink(missing_ok=True)
