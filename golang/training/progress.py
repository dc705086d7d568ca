"""Progress for people: a rich bar on a terminal, plain timed lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from importlib.util import find_spec
from typing import Any

log = logging.getLogger(__name__)
QUIET = 10.0  # seconds between plain progress lines at least


class Progress:
    """Shows step, loss, images a second and the time left, while entered; says nothing unless `shown`."""

    def __init__(self, total: int, shown: bool) -> None:
        self.total, self.shown = total, shown
        self._bar: Any = None
        self._task: Any = None
        self._spoken = 0.0

    def __enter__(self) -> Progress:
        terminal = sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        if self.shown and terminal and find_spec("rich"):
            from rich import progress

            columns = (
                progress.TextColumn("step"), progress.MofNCompleteColumn(), progress.BarColumn(bar_width=None),
                progress.TextColumn("{task.fields[facts]}"), progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = progress.Progress(*columns, expand=True)
            self._task = self._bar.add_task("train", total=self.total, facts="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def say(self, line: dict[str, Any], left: float) -> None:
        """Shows a metrics line; `left` is the time to the end in seconds."""
        if not self.shown:
            return
        facts = f"loss {line['loss']:.3f} · {line['images_per_second']:.0f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, facts=facts)
        elif time.monotonic() - self._spoken > QUIET or line["step"] == self.total:
            self._spoken = time.monotonic()
            step = f"step {line['step']}/{self.total} · epoch {line['epoch']}"
            log.info("%s · %s · %s left", step, facts, clock(left))


def clock(seconds: float) -> str:
    """A duration as a person writes it: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
