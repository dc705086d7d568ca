"""How far a long pass over images has come, for people."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

log = logging.getLogger(__name__)
Advance = Callable[[int, int], None]  # called with the images done, and images in all


@contextmanager
def shown(what: str) -> Iterator[Advance]:
    """A progress bar on a terminal; elsewhere, or without rich, a log line for every tenth."""
    if not sys.stdout.isatty() or find_spec("rich") is None:
        yield _tenths(what)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tenths(what: str) -> Advance:
    spoken = -1

    def line(done: int, total: int) -> None:
        nonlocal spoken
        if 10 * done // total > spoken:
            spoken = 10 * done // total
            log.info("%s: %d of %d", what, done, total)

    return line
