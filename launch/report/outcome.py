"""What came of the runs of a sweep, read from their folders: scores, settings, attempts, seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from golang.config.identity import LAUNCHERS, OUTSIDE, flat
from golang.errors import GolangError
from golang.runfolder.causes import LATE
from golang.runfolder.checkpoints import Entry
from golang.runfolder.evaluations import measured
from golang.runfolder.files import as_number, read_json
from golang.runfolder.folder import Attempt, RunFolder
from golang.runfolder.metrics import read_metrics
from golang.runfolder.results import beside, pictures, results
from launch.sweep import ledger
from launch.sweep.find import Run, runs_in


@dataclass(frozen=True)
class Span:
    """When one attempt ran, and how far it came. Times are seconds since 1970."""

    number: int
    in_place: bool  # its tasks started again on the nodes of the attempt before, without a requeue
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


@dataclass(frozen=True)
class RunOutcome:
    """What came of one run."""

    name: str  # the folder's
    state: str  # finished, running, the last attempt's cause, or not started
    settings: dict[str, str]  # dotted, as text
    typed: tuple[str, ...]  # the keys of its own overrides
    scores: dict[str, float]  # mAP in percent by what measured it
    beside: dict[str, float]  # a detection's other figures in percent, by what measured it and their names
    loss: float | None
    step: int
    total: int
    useful: float  # GPU-seconds
    attempts: tuple[Span, ...]
    submitted: tuple[float, ...]
    failures: tuple[tuple[str, str, str], ...]  # (attempt or launcher, cause, message)
    pictures: dict[str, list[Path]]  # by the evaluation that drew them

    @property
    def total_seconds(self) -> float:
        """GPU-seconds of all attempts."""
        return sum(attempt.seconds * attempt.ranks for attempt in self.attempts)

    @property
    def goodput(self) -> float | None:
        """Useful over total GPU-seconds; None before an attempt has lasted a second."""
        return self.useful / self.total_seconds if self.total_seconds else None

    @property
    def repeated(self) -> int:
        """Steps that were done again."""
        pairs = zip(self.attempts, self.attempts[1:], strict=False)
        return sum(max(0, before.reached - after.resumed) for before, after in pairs)


def outcomes(sweep: Path) -> list[RunOutcome]:
    """All runs of a sweep, with evaluations as figures of their runs. What is missing or damaged is never guessed."""
    lines = ledger.read(sweep)
    runs = [run for run in runs_in(sweep) if not _measures_another(RunFolder(run.path))]
    return [_outcome(run, [line for line in lines if line["folder"] == run.path.name]) for run in runs]


def _outcome(run: Run, lines: Sequence[dict[str, Any]]) -> RunOutcome:
    folder = RunFolder(run.path)
    metrics = [line for line in read_metrics(folder.metrics_file) if _count(line["step"])]
    logged = {_count(line.get("attempt")): _when(line.get("time")) or 0.0 for line in metrics}
    in_place = {_count(line.get("attempt")) for line in lines if line["event"] == "attempt" and line.get("in_place")}
    attempts = list(_attempts(folder, logged, in_place))
    settings = {key: str(value) for key, value in flat(read_json(folder.config_file)).items()}
    words = read_json(folder.overrides_file).get("overrides")
    pairs = [str(word).lstrip("+~").partition("=") for word in (words if isinstance(words, list) else [])]
    typed = {key: value for key, _, value in pairs if not is_below(key, (*LAUNCHERS, *OUTSIDE))}
    measured = results(folder)
    found = {name: as_number(facts.get("mAP")) for name, facts in measured.items()}
    return RunOutcome(
        name=run.path.name,
        state="finished" if folder.done else attempts[-1].cause if attempts else "not started",
        settings=typed | settings,
        typed=tuple(typed),
        scores={name: score for name, score in found.items() if score is not None},
        beside={f"{name} {what}": score for name, facts in measured.items() for what, score in beside(facts).items()},
        loss=as_number(metrics[-1].get("loss")) if metrics else None,
        step=max([metrics[-1]["step"] if metrics else 0, *(attempt.reached for attempt in attempts[-1:])]),
        total=attempts[-1].total if attempts else 0,
        useful=_useful(metrics, attempts),
        attempts=tuple(attempts),
        submitted=tuple(filter(None, (_when(line["time"]) for line in lines if line["event"] == "submitted"))),
        failures=(
            *((str(one.number), one.cause, one.message) for one in attempts if one.message is not None),
            *(("launcher", "failed", str(line.get("reason", ""))[:400]) for line in lines if line["event"] == "failed"),
        ),
        pictures=pictures(folder),
    )


def _useful(metrics: Sequence[dict[str, Any]], attempts: Sequence[Span]) -> float:
    """GPU-seconds of the steps that stand. Those that an attempt did after its last line took as long as that line's:
    the next attempt's first line tells of its own steps alone, and of their slow start."""
    resumed = {attempt.number: attempt.resumed for attempt in attempts}
    spent = dict.fromkeys([-1, *resumed], 0.0)
    before, number, pace = 0, -1, 0.0
    for line in metrics:
        if (own := _count(line.get("attempt"))) != number:
            begun = min(max(before, resumed.get(own, 0)), line["step"])
            spent[number] += (begun - before) * pace
            before, number = begun, own
        pace = as_number(line.get("step_seconds")) or 0.0
        spent[own] = spent.get(own, 0.0) + (line["step"] - before) * pace
        before = line["step"]
    return sum(min(spent[attempt.number], attempt.seconds) * attempt.ranks for attempt in attempts)


def _attempts(folder: RunFolder, logged: Mapping[int, float], in_place: Container[int]) -> Iterator[Span]:
    """In order. `logged`: by attempt, when its last line of metrics was written."""
    for number in folder.attempt_numbers():
        attempt = Attempt(folder, number)
        start, status, cause = attempt.start(), attempt.status(), attempt.cause()
        began = _when(start.get("started"))
        if began is None:
            continue
        heard = max(began, _when(status.get("updated")) or began, logged.get(number, began))
        resumed = Entry.of(Path(str(start.get("resumed_from"))))
        # An attempt that said nothing at its end is under way, or it was killed or lost.
        ended_by = str(cause.get("cause", "running" if attempt.newest and folder.held else "lost"))
        silence = "it ended without a word: killed, or its node was lost" if ended_by == "lost" else None
        message = str(cause["message"])[:400] if "message" in cause else silence
        yield Span(
            number=number,
            in_place=number in in_place,
            began=began,
            ended=(None if cause.get("by") == LATE else _when(cause.get("at"))) or heard,
            ranks=max(1, _count(start.get("world_size"))),
            host=str(start.get("host", "")),
            resumed=resumed.step if resumed else 0,
            reached=_count(cause.get("step")) or _count(status.get("step")),
            total=_count(status.get("total")),
            cause=ended_by,
            message=message,
        )


def _measures_another(folder: RunFolder) -> bool:
    """Whether it is an evaluation, whose result lies with a run."""
    with contextlib.suppress(GolangError):
        config = folder.config()
        return config.evaluation.checkpoint is not None and measured(config, folder.path) != folder.path
    return False


def is_below(key: str, names: Container[str]) -> bool:
    """Whether a dotted key, or a group that it is in, is among `names`."""
    parts = key.split(".")
    return any(".".join(parts[:end]) in names for end in range(1, len(parts) + 1))


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 2**63 else 0


def _when(stamp: object) -> float | None:
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.strptime(str(stamp), "%Y-%m-%dT%H:%M:%S%z").astimezone().timestamp()
    return None
