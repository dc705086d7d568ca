"""What the page shows, made anew where files of the sweep have changed, and no more often than it has to be."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golang.errors import GolangError
from golang.runfolder.folder import RunFolder
from launch.report.web.reading import stamp
from launch.sweep.find import runs_in
from launch.sweep.paths import Sweep

_REST = 4  # a look is followed by at least as many times the seconds that it took
_PAUSE = 0.25  # seconds between looks at the clock


@dataclass(frozen=True)
class Update:
    """The payload of one moment."""

    version: int  # from 1
    payload: dict[str, Any]
    data: bytes  # the same as JSON, in one line


class Feed:
    """Nobody looks while nobody asks, and one at a time."""

    def __init__(self, make: Callable[[], dict[str, Any]], stamp: Callable[[], object], every: float) -> None:
        """`make`: the payload; `stamp`: what is another as soon as the payload would be; `every`: seconds at least
        between two looks."""
        self._make, self._stamp, self._every = make, stamp, every
        self._latest: Update | None = None
        self._seen: object = None
        self._next = 0.0
        self._looking = threading.Lock()
        self.closed = threading.Event()

    def latest(self) -> Update:
        """What there is now. Raises GolangError and OSError where nothing could be made yet."""
        with self._looking:
            return self._look()

    def newer(self, than: int, patience: float) -> Update | None:
        """The newest version as soon as it is above `than`; None after `patience` seconds, or once it is closed."""
        deadline = time.monotonic() + patience
        while not self.closed.is_set():
            if self._looking.acquire(blocking=False):
                try:
                    found = self._look()
                finally:
                    self._looking.release()
                if found.version > than:
                    return found
            if time.monotonic() > deadline:
                break
            self.closed.wait(_PAUSE)
        return None

    def _look(self) -> Update:
        before, began = self._latest, time.monotonic()
        if before is not None and began < self._next:
            return before
        try:
            self._latest = found = self._fresh(before)
        except (GolangError, OSError):
            if before is None:
                raise
            found = before  # of a disk that is away for a moment what was there is shown still
        ended = time.monotonic()
        self._next = ended + max(self._every, _REST * (ended - began))
        return found

    def _fresh(self, before: Update | None) -> Update:
        stamp = self._stamp()
        if before is not None and stamp == self._seen:
            return before
        payload = self._make()
        self._seen = stamp
        data = json.dumps(payload, separators=(",", ":")).encode()
        return Update(before.version + 1 if before else 1, payload, data)


def stamps(sweep: Path) -> dict[str, object]:
    """When what a page is made of was last written to, and which runs are held. A new file, or one written anew as a
    whole, shows in its folder."""
    place = Sweep(sweep)
    found: dict[str, object] = {str(path): _written(path) for path in (place.description, place.ledger)}
    for run in runs_in(sweep):
        folder = RunFolder(run.path)
        found[run.path.name] = (*stamp(folder), folder.done or folder.held)
    return found


def _written(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        facts = path.stat()
        return facts.st_mtime_ns, facts.st_size
    return None
