"""All that the page of a sweep shows, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golang.config import Config
from golang.config.identity import OUTSIDE, flat
from golang.runfolder.files import now
from golang.runfolder.folder import Attempt, RunFolder
from launch.report.effects import axes, best_first, marginals, measure
from launch.report.outcome import RunOutcome, outcomes
from launch.report.web import about, costs, curves
from launch.report.web.classes import Classes
from launch.report.web.pictures import pictures
from launch.sweep.find import runs_in

_LONGEST = 60  # characters of a run's label


def payload(sweep: Path) -> dict[str, Any]:
    """Of a sweep's runs, the best first; what is missing or damaged is said in `missing`."""
    return report(sweep)[1]


def report(sweep: Path) -> tuple[list[RunOutcome], dict[str, Any]]:
    """What came of the runs, and what the page shows of them."""
    found = [RunFolder(run.path) for run in runs_in(sweep)]
    points = curves.points_of(len(found))
    with curves.reading((folder.metrics_file for folder in found), points) as curves_of:
        runs = best_first(outcomes(sweep))
        folders = [RunFolder(sweep / run.name) for run in runs]
        packed = [curves_of(folder.metrics_file) for folder in folders]
    return runs, _content(sweep, runs, folders, packed, points)


def _content(
    sweep: Path,
    runs: Sequence[RunOutcome],
    folders: Sequence[RunFolder],
    packed: Sequence[curves.Curves],
    points: int,
) -> dict[str, Any]:
    keys, shared = axes(runs), _shared(runs)
    classes, versions = Classes(len(runs)), about.Table()
    rows = [
        _row(run, folder, curve, shared, keys, classes, versions)
        for run, folder, curve in zip(runs, folders, packed, strict=True)
    ]
    seen = pictures([folder.path for folder in folders])
    return {
        "sweep": about.sweep(sweep),
        "written": now(),
        "about": about.facts(sweep, runs, shared, versions.rows),
        "missing": list(_missing(sweep, runs, packed)),
        "axes": keys,
        "measure": measure(runs),
        "shared": shared,
        "defaults": {key: str(value) for key, value in flat(Config().to_dict()).items()},
        "outside": list(OUTSIDE),
        "effects": [asdict(effect) for effect in marginals(runs) if effect.key != "seed"],
        "metrics": sorted({name for curve in packed for name in curve.metrics}),
        "classes": classes.names,
        "classes_left": classes.told(),
        "versions": versions.rows,
        "runs": rows,
        "pictures": seen.shown,
        "pictures_left": seen.told(),
        "rules": {"curves": curves.rule(points), "goodput": costs.GOODPUT, "costs": costs.RULE},
    }


def _row(
    run: RunOutcome,
    folder: RunFolder,
    curve: curves.Curves,
    shared: dict[str, str],
    keys: Sequence[str],
    classes: Classes,
    versions: about.Table,
) -> dict[str, Any]:
    spent = costs.costs(run)
    numbers = [attempt.number for attempt in run.attempts]
    return {
        "name": run.name,
        "label": _label(run, keys),
        "path": str(folder.path),
        "state": run.state,
        "settings": {key: value for key, value in run.settings.items() if shared.get(key) != value},
        "scores": run.scores,
        "beside": run.beside,
        "loss": run.loss,
        "step": run.step,
        "total": run.total,
        "useful": round(run.useful, 1),
        "seconds": round(run.total_seconds, 1),
        "goodput": run.goodput,
        "repeated": run.repeated,
        "waits": [round(wait, 1) for wait in spent.waits],
        "again": spent.again,
        "steps_again": spent.steps_again,
        "rest": round(spent.rest, 1),
        "submitted": run.submitted,
        "attempts": [asdict(attempt) for attempt in run.attempts],
        "failures": [list(failure) for failure in run.failures],
        "logs": [log for number in numbers for log in _logs(Attempt(folder, number))],
        "versions": versions.number(_versions(folder, numbers)),
        "code": about.code(folder),
        "classes": classes.of(folder),
        "lines": curve.lines,
        "curves": curve.packed,
    }


def _label(run: RunOutcome, keys: Sequence[str]) -> str:
    """Its own values on the grid's axes; of a run without any, its name."""
    text = ", ".join(f"{key.rpartition('.')[2]}={run.settings[key]}" for key in keys if key in run.settings)
    text = text or run.name
    return text if len(text) <= _LONGEST else text[: _LONGEST - 20] + "…" + text[-19:]


def _shared(runs: Sequence[RunOutcome]) -> dict[str, str]:
    """The settings that all runs have alike."""
    first, *others = [run.settings for run in runs if run.settings] or [{}]
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _logs(attempt: Attempt) -> list[dict[str, int]]:
    found = []
    for path in attempt.path.glob("rank*.log"):
        rank = path.stem.removeprefix("rank")
        if rank.isdecimal() and path.is_file():
            found.append({"attempt": attempt.number, "rank": int(rank), "bytes": path.stat().st_size})
    return sorted(found, key=lambda log: log["rank"])


def _versions(folder: RunFolder, numbers: Sequence[int]) -> dict[str, str]:
    """Of the newest attempt."""
    found = Attempt(folder, numbers[-1]).start().get("versions") if numbers else None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _missing(sweep: Path, runs: Sequence[RunOutcome], packed: Sequence[curves.Curves]) -> list[str]:
    """What a reader would look for and not find."""
    said = []

    def say(count: int, one: str, many: str) -> None:
        if count:
            said.append(one if count == 1 else many.format(count))

    say(sum(run.state == "running" for run in runs), "1 run is under way; its figures will change.",
        "{} runs are under way; their figures will change.")  # fmt: skip
    say(sum(not run.attempts for run in runs), "1 run has not started.", "{} runs have not started.")
    say(sum(not run.settings for run in runs), "1 run's settings can't be read: its config.yaml is damaged.",
        "{} runs' settings can't be read: their config.yaml is damaged.")  # fmt: skip
    begun = [curve for run, curve in zip(runs, packed, strict=True) if run.attempts]
    say(sum(not curve.lines for curve in begun), "1 run that began has no metrics, and no curve.",
        "{} runs that began have no metrics, and no curves.")  # fmt: skip
    if not any(run.scores for run in runs):
        said.append("No run has a score: nothing was evaluated yet, so runs are ordered by loss.")
    else:
        say(sum(measure(runs) not in run.scores for run in runs), f"1 run has no {measure(runs)} score, and comes last.",
            f"{{}} runs have no {measure(runs)} score, and come last.")  # fmt: skip
    if not about.described(sweep):
        said.append("The sweep has no sweep.yaml: what was typed is not known.")
    return said
