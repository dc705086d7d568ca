"""What came of the runs of a sweep: the records of their folders, and what the sweep's ledger knows of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golang.records import record
from golang.records.lives import Life, count, when
from golang.records.record import Record, Told
from golang.records.table import own_folders
from golang.runfolder.folder import RunFolder
from golang.runfolder.results import pictures
from launch.sweep import ledger


@dataclass(frozen=True)
class Span(Life):
    """An attempt, and whether it is known to Slurm as one of its own."""

    in_place: bool  # its tasks started again on the nodes of the attempt before, without a requeue


@dataclass(frozen=True)
class RunOutcome(Record):
    """What came of one run. Its settings are text."""

    attempts: tuple[Span, ...]
    submitted: tuple[float, ...]
    failures: tuple[tuple[str, str, str], ...]  # (attempt or launcher, cause, message)
    pictures: dict[str, list[Path]]  # by the evaluation that drew them


def outcomes(sweep: Path) -> list[RunOutcome]:
    """All runs of a sweep, with evaluations as figures of their runs. What is missing or damaged is never guessed."""
    return [outcome(folder, lines) for folder, lines in folders(sweep).items()]


def folders(sweep: Path) -> dict[Path, list[dict[str, Any]]]:
    """Those of a sweep's runs, each with its lines of the ledger."""
    lines = defaultdict(list)
    for line in ledger.read(sweep):
        lines[line["folder"]].append(line)
    sweep = sweep.absolute()
    return {folder: lines[folder.name] for folder in own_folders(sweep) if folder.parent == sweep}


def outcome(folder: Path, lines: Sequence[dict[str, Any]], metrics: Told | None = None) -> RunOutcome:
    """Of one run, with its lines of the ledger; `metrics` as for `record.read`."""
    run = record.read(folder, metrics)
    in_place = {count(line.get("attempt")) for line in lines if line["event"] == "attempt" and line.get("in_place")}
    known = vars(run) | {
        "settings": {key: str(value) for key, value in run.settings.items()},
        "attempts": tuple(Span(**vars(one), in_place=one.number in in_place) for one in run.attempts),
    }
    return RunOutcome(
        **known,
        submitted=tuple(filter(None, (when(line["time"]) for line in lines if line["event"] == "submitted"))),
        failures=(
            *((str(one.number), one.cause, one.message) for one in run.attempts if one.message is not None),
            *(("launcher", "failed", str(line.get("reason", ""))[:400]) for line in lines if line["event"] == "failed"),
        ),
        pictures=pictures(RunFolder(folder)),
    )
