"""What the page needs of every run, each read once: of many runs by several processes, and again only what changed."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golang.data.pool import follow_parent, processors
from golang.records.record import told
from golang.runfolder.folder import Attempt, RunFolder
from golang.runfolder.results import per_class
from launch.report.outcome import RunOutcome, folders, outcome
from launch.report.web import curves
from launch.report.web.curves import Curves
from launch.sweep.folder import frozen_code

_POOL = 64  # runs from which several processes are worth their start


@dataclass(frozen=True)
class Scored:
    """The figures of each class that an evaluation found, in points."""

    what: str  # AP or IoU
    points: dict[str, float]


@dataclass(frozen=True)
class Reading:
    """One run."""

    outcome: RunOutcome
    curves: Curves
    classes: dict[str, Scored]  # by the evaluation's name
    logs: list[dict[str, int]]  # attempt, rank, bytes
    versions: dict[str, str]  # of the newest attempt
    code: str  # the snapshot that it was last submitted with; "" if there is none


Kept = dict[Path, tuple[object, Reading]]  # what was read for a page that is made again and again


def read(sweep: Path, kept: Kept) -> tuple[list[Reading], int]:
    """The runs of a sweep, and how many points their curves have at most. `kept` is brought up to date: what it has of
    runs that have written nothing since is not read again."""
    lines = folders(sweep)
    points = curves.points_of(len(lines))
    stamps = {folder: (points, len(own), *stamp(RunFolder(folder))) for folder, own in lines.items()}
    changed = [folder for folder in lines if folder not in kept or kept[folder][0] != stamps[folder]]
    asked = (changed, [lines[folder] for folder in changed], [points] * len(changed))
    fresh = _read_together(*asked) if len(changed) >= _POOL else list(map(_read, *asked))
    found = {folder: reading for folder, (_, reading) in kept.items()} | dict(zip(changed, fresh, strict=True))
    kept.clear()
    # Of a run that is under way, its end may leave no trace.
    kept.update(
        (folder, (stamps[folder], found[folder])) for folder in lines if found[folder].outcome.state != "running"
    )
    return [found[folder] for folder in lines], points


def _read_together(*asked: Sequence[Any]) -> list[Reading]:
    """`_read` of many by several processes; by this one where a program can't be started a second time, as one that is
    read from a pipe."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processors(), context, follow_parent) as pool:
            return list(pool.map(_read, *asked, chunksize=8))
    except BrokenProcessPool:
        return list(map(_read, *asked))


def _read(folder: Path, lines: Sequence[dict[str, Any]], points: int) -> Reading:
    run = RunFolder(folder)
    metrics = told(run)
    found = outcome(folder, lines, metrics)
    return Reading(
        outcome=found,
        curves=curves.pack(metrics.lines, points),
        classes=dict(_classes(found)),
        logs=[log for number in run.attempt_numbers() for log in _logs(Attempt(run, number))],
        versions=_versions(run),
        code=frozen_code(folder),
    )


def _classes(run: RunOutcome) -> Iterator[tuple[str, Scored]]:
    for name, facts in sorted(run.evaluations().items()):
        if name in run.scores and (points := per_class(facts)):
            yield name, Scored(str(facts.get("measure", "AP")), points)


def _logs(attempt: Attempt) -> list[dict[str, int]]:
    found = []
    for path in attempt.path.glob("rank*.log"):
        rank = path.stem.removeprefix("rank")
        if rank.isdecimal() and path.is_file():
            found.append({"attempt": attempt.number, "rank": int(rank), "bytes": path.stat().st_size})
    return sorted(found, key=lambda log: log["rank"])


def _versions(run: RunFolder) -> dict[str, str]:
    last = run.last_attempt()
    found = last.start().get("versions") if last else None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def stamp(run: RunFolder) -> Iterator[int]:
    """Another once the run has written something: its small files are replaced, which their folders' times show."""
    within = [run.path, run.attempts, *run.attempts.glob("*"), run.evaluation, *run.evaluation.glob("*")]
    for path in [run.metrics_file, run.probes_file, *sorted(within)]:
        with contextlib.suppress(OSError):
            facts = path.stat()
            yield from (facts.st_mtime_ns, facts.st_size)
