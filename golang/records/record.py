"""One run as a record."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from golang.config import nearest
from golang.config.identity import LAUNCHERS, OUTSIDE, flat
from golang.errors import DataError, GolangError
from golang.records import lives
from golang.records.lives import Life
from golang.runfolder.evaluations import measured, result_name, results_of
from golang.runfolder.files import as_number, read_json, read_plain
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import lines_of
from golang.runfolder.results import RESULT, beside, results

Metrics = list[dict[str, Any]]


class Told(NamedTuple):
    """What metrics.jsonl says, each step once and in order, and what of it can't be read; "" if all can."""

    lines: Metrics
    trouble: str


@dataclass(frozen=True)
class Record:
    """What a run's folder says of it. What is missing or damaged is never guessed: `troubles` names it."""

    path: Path
    state: str  # finished, running, the last attempt's cause, or not started
    settings: dict[str, Any]  # dotted; where they can't be read, what was typed for this run, as text
    typed: tuple[str, ...]  # the keys named in its command
    scores: dict[str, float]  # mAP in percent by what measured it
    beside: dict[str, float]  # a detection's other figures in percent, by what measured it and their names
    loss: float | None  # of the last logged step
    step: int
    total: int  # steps that it is to take; 0: no attempt has said
    useful: float  # GPU-seconds
    attempts: tuple[Life, ...]
    troubles: tuple[str, ...]  # what of the folder is missing or can't be read, a sentence each

    @property
    def name(self) -> str:
        """The folder's."""
        return self.path.name

    @property
    def folder(self) -> RunFolder:
        """Every path in the run's folder."""
        return RunFolder(self.path)

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
        return sum(lives.repeated(self.attempts))

    def metrics(self) -> Metrics:
        """The lines of metrics.jsonl, each step once and in order; none where there is no such file, or none that can
        be read. docs/metrics.md names their keys."""
        return told(self.folder).lines

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """All that each evaluation found, by its name in `scores`."""
        return _results(self.folder)

    def evaluation(self, name: str) -> dict[str, Any]:
        """All that an evaluation found, by its name in `scores`. Raises DataError if it has found nothing."""
        found = self.evaluations()
        if name not in found:
            known = nearest(name, list(found)) or f"; there is {', '.join(sorted(found)) or 'none'}"
            raise DataError(f"{self.path} has no result of an evaluation {name!r}{known}")
        return found[name]


def told(folder: RunFolder) -> Told:
    """Reads a run's metrics."""
    if not folder.metrics_file.exists():
        return Told([], "metrics.jsonl is missing")
    try:
        written = read_plain(folder.metrics_file, errors="replace")
    except OSError as error:
        return Told([], f"metrics.jsonl can't be read: {error.strerror}")
    lines = {line["step"]: line for line in lines_of(written) if lives.count(line["step"])}
    count = written.count("\n")
    left = f"{count - len(lines)} of {count} lines can't be read, or are of a step told twice"
    return Told([lines[step] for step in sorted(lines)], f"metrics.jsonl: {left}" if len(lines) < count else "")


def read(path: Path, metrics: Told | None = None) -> Record:
    """The record of a run's folder; what its `metrics` tell, if they have been read, is not read again."""
    folder = RunFolder(path)
    lines, trouble = told(folder) if metrics is None else metrics
    attempts = lives.lives(folder, lines)
    words = read_json(folder.overrides_file).get("overrides")
    pairs = [str(word).lstrip("+~").partition("=") for word in (words if isinstance(words, list) else [])]
    typed = {key: value for key, _, value in pairs if not is_below(key, (*LAUNCHERS, *OUTSIDE))}
    found = _results(folder)
    figures = {name: as_number(facts.get("mAP")) for name, facts in found.items()}
    return Record(
        path=path,
        state="finished" if folder.done else attempts[-1].cause if attempts else "not started",
        settings=typed | {key: _plain(value) for key, value in flat(read_json(folder.config_file)).items()},
        typed=tuple(typed),
        scores={name: score for name, score in figures.items() if score is not None},
        beside={f"{name} {what}": score for name, facts in found.items() for what, score in beside(facts).items()},
        loss=as_number(lines[-1].get("loss")) if lines else None,
        step=max([lines[-1]["step"] if lines else 0, *(attempt.reached for attempt in attempts[-1:])]),
        total=attempts[-1].total if attempts else 0,
        useful=lives.useful(lines, attempts),
        attempts=tuple(attempts),
        troubles=tuple(_troubles(folder, trouble, attempts)),
    )


def measures(path: Path) -> Path | None:
    """The run that an evaluation in `path` measures, with which its result lies; None of any other run."""
    folder = RunFolder(path)
    asked = read_json(folder.config_file).get("evaluation")
    if isinstance(asked, dict) and asked.get("checkpoint") is not None:
        with contextlib.suppress(GolangError):
            other = measured(folder.config(), path)
            return other if other != path else None
    return None


def is_below(key: str, names: Container[str]) -> bool:
    """Whether a dotted key, or a group that it is in, is among `names`."""
    parts = key.split(".")
    return any(".".join(parts[:end]) in names for end in range(1, len(parts) + 1))


def _results(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """What was found in the run's weights; of an evaluation of another run, what it found there."""
    if measures(folder.path) is None:
        return results(folder)
    config = folder.config()
    facts = read_json(results_of(config, folder.path) / RESULT)
    return {result_name(config): facts} if facts else {}


def _troubles(folder: RunFolder, metrics: str, attempts: Sequence[Life]) -> list[str]:
    found = []
    if not folder.config_file.is_file():
        found.append("config.yaml is missing")
    elif not read_json(folder.config_file):
        found.append("config.yaml can't be read")
    begun = folder.attempt_numbers()
    if unknown := sorted(set(begun) - {attempt.number for attempt in attempts}):
        found.append(f"when attempt {', '.join(map(str, unknown))} began can't be read")
    if metrics and (folder.metrics_file.exists() or (attempts and measures(folder.path) is None)):
        found.append(metrics)
    files = [*folder.evaluation.glob(f"*/{RESULT}"), folder.probe_file]
    unread = [file for file in files if file.exists() and not read_json(file)]
    return [*found, *(f"{file.relative_to(folder.path)} can't be read" for file in sorted(unread))]


def _plain(value: object) -> object:
    """A setting's value such that runs can be grouped by it: lists are tuples."""
    return tuple(_plain(one) for one in value) if isinstance(value, list) else value
