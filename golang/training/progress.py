"""Progress for people: a rich bar on a terminal, plain timed lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from types import TracebackType
from typing import Any

log = logging.getLogger(__name__)
QUIET = 10.0  # seconds between plain progress lines at least


class Progress:
    """Shows step, loss, images a second and the time left, while entered; says nothing unless `shown`."""

    def __init__(self, total: int, shown: bool) -> None:
        self.total = total
        self.shown = shown
        self._bar: Any = None
        self._task: Any = None
        self._spoken = 0.0

    def __enter__(self) -> Progress:
        if self.shown and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            try:
                from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
                from rich.progress import Progress as RichProgress
            except ImportError:
                return self
            self._bar = RichProgress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[facts]}"),
                TextColumn("left"),
                TimeRemainingColumn(),
                expand=True,
            )
            self._task = self._bar.add_task("train", total=self.total, facts="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            log.info(
                "step %d/%d · epoch %d · %s · %s left", line["step"], self.total, line["epoch"], facts, clock(left)
            )


def clock(seconds: float) -> str:
    """A duration as a person writes it: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
