"""What came of the runs of a sweep, read from their folders: scores, settings, attempts, seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from golang.config.identity import OUTSIDE, flat
from golang.errors import GolangError
from golang.runfolder.evaluations import measured
from golang.runfolder.files import as_number, read_json
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics
from launch.monitor.status import held
from launch.node.requeue import LATE
from launch.sweep import ledger
from launch.sweep.find import Run, runs_in

NOT_OURS = {"random_init", "chance"}  # files of evaluation/ that measure something else than the run
LAUNCHER = ("cluster", "sweep", "runs_dir", "run_dir", "dry_run", "code", "tracking", "hydra")


@dataclass(frozen=True)
class Attempt:
    """One life of a run. Times are seconds since 1970."""

    number: int
    began: float
    ended: float
    ranks: int
    host: str
    resumed: int  # the step it continued from
    reached: int
    cause: str  # what ended it, in the run's own word; lost: it ended without one

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.began)

    @property
    def shown_start(self) -> str:
        return datetime.fromtimestamp(self.began).strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    name: str  # the folder's
    state: str  # finished, running, the last attempt's cause, or not started
    settings: dict[str, str]  # dotted, as text
    typed: tuple[str, ...]  # the keys of its own overrides
    scores: dict[str, float]  # mAP in percent by what measured it
    loss: float | None
    step: int
    total: int
    useful: float  # GPU-seconds
    attempts: tuple[Attempt, ...]
    submitted: tuple[float, ...]
    failures: tuple[tuple[str, str, str], ...]  # (attempt or launcher, cause, message)

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


@dataclass(frozen=True)
class Level:
    """One value of a setting, over the runs that have it."""

    value: str
    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Effect:
    """One axis of the grid."""

    key: str
    levels: tuple[Level, ...]
    balanced: bool  # every value over the same cells of the other axes


def outcomes(sweep: Path) -> list[Outcome]:
    """All runs of a sweep; evaluations of a run are figures of that run. What is missing or damaged in a folder is left
    out, never guessed."""
    lines = ledger.read(sweep)
    return [
        _outcome(run, [line for line in lines if line["folder"] == run.path.name])
        for run in runs_in(sweep)
        if not _measures_another(RunFolder(run.path))
    ]


def measure(runs: Sequence[Outcome]) -> str:
    """What measured the mAP of most runs; "" if there is none."""
    names = sorted({name for run in runs for name in run.scores})
    return max(names, key=lambda name: sum(name in run.scores for run in runs), default="")


def best_first(runs: Sequence[Outcome]) -> list[Outcome]:
    """By mAP; then those without one, by loss; then the rest by name."""
    name = measure(runs)
    return sorted(
        runs,
        key=lambda run: (-run.scores.get(name, -math.inf), math.inf if run.loss is None else run.loss, run.name),
    )


def axes(runs: Sequence[Outcome]) -> list[str]:
    """The settings of the grid: those typed for a run that differ between runs; if none was, all that differ."""
    typed = list(dict.fromkeys(key for run in runs for key in run.typed))
    keys = typed or sorted({key for run in runs for key in run.settings if not _is(key, OUTSIDE)})
    return [key for key in keys if len({run.settings.get(key, "–") for run in runs}) > 1]


def marginals(runs: Sequence[Outcome]) -> list[Effect]:
    """The mean of each value of each axis over the cells of the others in which every value has a run: of mAP, or of
    the loss where no run has one."""
    name, keys = measure(runs), axes(runs)
    score = {run.name: run.scores.get(name) if name else run.loss for run in runs}
    scored = [(run, figure) for run in runs if (figure := score[run.name]) is not None]
    found = []
    for key in keys:
        cells: dict[tuple[str, ...], dict[str, list[float]]] = {}
        for run, figure in scored:
            others = tuple(run.settings.get(other, "–") for other in keys if other != key)
            cells.setdefault(others, {}).setdefault(run.settings.get(key, "–"), []).append(figure)
        values = sorted({value for cell in cells.values() for value in cell}, key=_in_order)
        whole = [cell for cell in cells.values() if len(cell) == len(values)]
        if len(values) < 2:
            continue
        levels = []
        for value in values:
            figures = [one for cell in whole or cells.values() for one in cell.get(value, [])]
            levels.append(Level(value, fmean(figures), min(figures), max(figures), len(figures)))
        found.append(Effect(key, tuple(levels), bool(whole)))
    return found


def _outcome(run: Run, lines: Sequence[dict[str, Any]]) -> Outcome:
    folder = RunFolder(run.path)
    metrics = [line for line in read_metrics(folder.metrics_file) if _count(line["step"])]
    logged = {_count(line.get("attempt")): _when(line.get("time")) or 0.0 for line in metrics}
    attempts = list(_attempts(folder, logged))
    status = _status(folder, attempts[-1].number) if attempts else {}
    settings = {key: str(value) for key, value in flat(read_json(folder.config_file) or {}).items()}
    typed = dict(_overrides(run.path))
    return Outcome(
        name=run.path.name,
        state="finished" if folder.done else attempts[-1].cause if attempts else "not started",
        settings=typed | settings,
        typed=tuple(typed),
        scores=dict(_scores(run.path)),
        loss=as_number(metrics[-1].get("loss")) if metrics else None,
        step=max([metrics[-1]["step"] if metrics else 0, *(attempt.reached for attempt in attempts[-1:])]),
        total=_count(status.get("total")),
        useful=_useful(metrics, attempts),
        attempts=tuple(attempts),
        submitted=tuple(
            when for line in lines if line["event"] == "submitted" and (when := _when(line["time"])) is not None
        ),
        failures=(*_failures(folder, attempts), *(
            ("launcher", "failed", str(line.get("reason", ""))[:400]) for line in lines if line["event"] == "failed"
        )),
    )  # fmt: skip


def _useful(metrics: Sequence[dict[str, Any]], attempts: Sequence[Attempt]) -> float:
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


def _attempts(folder: RunFolder, logged: Mapping[int, float]) -> Iterator[Attempt]:
    """In order. `logged`: by attempt, when its last line of metrics was written."""
    for number in folder.attempt_numbers():
        start = read_json(folder.attempts / f"{number:02d}" / "start.json") or {}
        status, cause = _status(folder, number), _cause(folder, number)
        began = _when(start.get("started"))
        if began is None:
            continue
        heard = max(began, _when(status.get("updated")) or began, logged.get(number, began))
        ended = (None if cause.get("by") == LATE else _when(cause.get("at"))) or heard
        resumed = re.match(r"step_(\d+)", str(start.get("resumed_from")))
        yield Attempt(
            number=number,
            began=began,
            ended=ended,
            ranks=max(1, _count(start.get("world_size"))),
            host=str(start.get("host", "")),
            resumed=int(resumed[1]) if resumed else 0,
            reached=_count(cause.get("step")) or _count(status.get("step")),
            cause=str(cause["cause"]) if "cause" in cause else _without_a_cause(folder, number),
        )


def _without_a_cause(folder: RunFolder, number: int) -> str:
    """An attempt that said nothing at its end is under way, or it was killed or lost."""
    return "running" if number == folder.attempt_numbers()[-1] and held(folder) else "lost"


def _failures(folder: RunFolder, attempts: Sequence[Attempt]) -> Iterator[tuple[str, str, str]]:
    for attempt in attempts:
        cause = _cause(folder, attempt.number)
        if "message" in cause or attempt.cause == "lost":
            said = str(cause.get("message", "it ended without a word: killed, or its node was lost"))
            yield str(attempt.number), attempt.cause, said[:400]


def _measures_another(folder: RunFolder) -> bool:
    """Whether it is an evaluation, whose result lies with a run."""
    try:
        config = folder.config()
    except GolangError:
        return False
    return config.evaluation.checkpoint is not None and measured(config, folder.path) != folder.path


def _status(folder: RunFolder, number: int) -> dict[str, Any]:
    return read_json(folder.attempts / f"{number:02d}" / "status.json") or {}


def _cause(folder: RunFolder, number: int) -> dict[str, Any]:
    return read_json(folder.attempts / f"{number:02d}" / "cause.json") or {}


def _scores(run: Path) -> Iterator[tuple[str, float]]:
    """mAP by the name of its file in evaluation/, or of the protocol's folder."""
    for path in sorted([*run.glob("evaluation/*.json"), *run.glob("evaluation/*/result.json")]):
        name = path.parent.name if path.name == "result.json" else path.stem
        value = as_number((read_json(path) or {}).get("mAP"))
        if value is not None and name not in NOT_OURS:
            yield name, value


def _overrides(run: Path) -> Iterator[tuple[str, str]]:
    typed = (read_json(run / "overrides.yaml") or {}).get("overrides")
    for override in typed if isinstance(typed, list) else []:
        key, _, value = str(override).lstrip("+~").partition("=")
        if not _is(key, LAUNCHER) and not _is(key, OUTSIDE):
            yield key, value


def _is(key: str, names: object) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:end]) in names for end in range(1, len(parts) + 1))  # type: ignore[operator]


def _in_order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 2**63 else 0


def _when(stamp: object) -> float | None:
    try:
        return datetime.strptime(str(stamp), "%Y-%m-%dT%H:%M:%S%z").astimezone().timestamp()
    except (ValueError, OverflowError):
        return None
