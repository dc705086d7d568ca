"""The attempts of a run: when each ran, how far it came, and how much of that stands."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from golang.runfolder.causes import LATE
from golang.runfolder.checkpoints import Entry
from golang.runfolder.files import as_number
from golang.runfolder.folder import Attempt, RunFolder


@dataclass(frozen=True)
class Life:
    """When one attempt ran, and how far it came. Times are seconds since 1970."""

    number: int
    began: float
    ended: float
    ranks: int
    host: str
    resumed: int  # the step it continued from
    reached: int
    total: int  # steps that the run is to take
    cause: str  # what ended it, in the run's own word; lost: it ended without one
    message: str | None  # of one that failed

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.began)


def lives(folder: RunFolder, metrics: Sequence[Mapping[str, Any]]) -> list[Life]:
    """The attempts in order; one without a readable start is not among them."""
    logged = {count(line.get("attempt")): line.get("time") for line in metrics}
    return [life for number in folder.attempt_numbers() if (life := _life(Attempt(folder, number), logged))]


def _life(attempt: Attempt, logged: Mapping[int, object]) -> Life | None:
    """`logged`: by attempt, when its last line of metrics was written."""
    start, status, cause = attempt.start(), attempt.status(), attempt.cause()
    began = when(start.get("started"))
    if began is None:
        return None
    heard = max(began, *(when(stamp) or began for stamp in (status.get("updated"), logged.get(attempt.number))))
    resumed = Entry.of(Path(str(start.get("resumed_from"))))
    # An attempt that said nothing at its end is under way, or it was killed or lost.
    ended_by = str(cause.get("cause", "running" if attempt.newest and attempt.run.held else "lost"))
    silence = "it ended without a word: killed, or its node was lost" if ended_by == "lost" else None
    return Life(
        number=attempt.number,
        began=began,
        ended=(None if cause.get("by") == LATE else when(cause.get("at"))) or heard,
        ranks=max(1, count(start.get("world_size"))),
        host=str(start.get("host", "")),
        resumed=resumed.step if resumed else 0,
        reached=count(cause.get("step")) or count(status.get("step")),
        total=count(status.get("total")),
        cause=ended_by,
        message=str(cause["message"])[:400] if "message" in cause else silence,
    )


def useful(metrics: Sequence[Mapping[str, Any]], attempts: Sequence[Life]) -> float:
    """GPU-seconds of the steps that stand. Those that an attempt did after its last line took as long as that line's:
    the next attempt's first line tells of its own steps alone, and of their slow start."""
    resumed = {attempt.number: attempt.resumed for attempt in attempts}
    spent = dict.fromkeys([-1, *resumed], 0.0)
    before, number, pace = 0, -1, 0.0
    for line in metrics:
        if (own := count(line.get("attempt"))) != number:
            begun = min(max(before, resumed.get(own, 0)), line["step"])
            spent[number] += (begun - before) * pace
            before, number = begun, own
        pace = as_number(line.get("step_seconds")) or 0.0
        spent[own] = spent.get(own, 0.0) + (line["step"] - before) * pace
        before = line["step"]
    return sum(min(spent[attempt.number], attempt.seconds) * attempt.ranks for attempt in attempts)


def repeated(attempts: Sequence[Life]) -> Iterator[int]:
    """Steps that each attempt but the first did again."""
    for before, after in itertools.pairwise(attempts):
        yield max(0, before.reached - after.resumed)


def count(value: object) -> int:
    """A whole number above 0 as a file says it; 0 for anything else."""
    return value if isinstance(value, int) and 0 < value < 2**63 else 0


def when(stamp: object) -> float | None:
    """Seconds since 1970 of a time as files have it; None for anything else."""
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.strptime(str(stamp), "%Y-%m-%dT%H:%M:%S%z").astimezone().timestamp()
    return None
