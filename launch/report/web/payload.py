"""All that the page of a sweep shows, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golang.config.identity import OUTSIDE
from golang.runfolder.files import now
from launch.report.effects import axes, best_first, marginals, measure
from launch.report.outcome import RunOutcome
from launch.report.web import about, costs, curves
from launch.report.web.classes import Classes
from launch.report.web.pictures import pictures
from launch.report.web.reading import Kept, Reading, read

_LONGEST = 60  # characters of a run's label


def payload(sweep: Path, kept: Kept | None = None) -> dict[str, Any]:
    """Of a sweep's runs, the best first; what is missing or damaged is said in `missing`. `kept` as for `read`."""
    return report(sweep, kept)[1]


def report(sweep: Path, kept: Kept | None = None) -> tuple[list[RunOutcome], dict[str, Any]]:
    """What came of the runs, the best first, and what the page shows of them. Raises DataError if `sweep` is no
    folder."""
    found, points = read(sweep, {} if kept is None else kept)
    places = {run.name: place for place, run in enumerate(best_first([one.outcome for one in found]))}
    found.sort(key=lambda one: places[one.outcome.name])
    runs = [one.outcome for one in found]
    keys, shared = axes(runs), _shared(runs)
    classes, versions = Classes(), about.Table()
    rows = [_row(one, shared, keys, classes, versions) for one in found]
    seen = pictures([run.path for run in runs])
    content = {
        "sweep": {"name": sweep.name, "path": str(sweep)},
        "written": now(),
        "about": about.facts(sweep, found, shared, versions.rows),
        "missing": _missing(sweep, found),
        "axes": keys,
        "measure": measure(runs),
        "shared": shared,
        "defaults": about.defaults(),
        "outside": list(OUTSIDE),
        "effects": [asdict(effect) for effect in marginals(runs) if effect.key != "seed"],
        "metrics": sorted({name for one in found for name in one.curves.metrics}),
        "classes": classes.names,
        "classes_left": classes.told(),
        "versions": versions.rows,
        "runs": rows,
        "pictures": seen.shown,
        "pictures_left": seen.told(),
        "rules": {"curves": curves.rule(points), "goodput": costs.GOODPUT, "costs": costs.RULE},
    }
    return runs, content


def _row(
    one: Reading, shared: dict[str, str], keys: Sequence[str], classes: Classes, versions: about.Table
) -> dict[str, Any]:
    run, spent = one.outcome, costs.costs(one.outcome)
    return {
        "name": run.name,
        "label": _label(run, keys),
        "path": str(run.path),
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
        "attempts": [asdict(attempt) for attempt in run.attempts],
        "failures": [list(failure) for failure in run.failures],
        "troubles": list(run.troubles),
        "logs": one.logs,
        "versions": versions.number(one.versions),
        "code": one.code,
        "classes": classes.of(one.classes),
        "lines": one.curves.lines,
        "curves": one.curves.packed,
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


def _missing(sweep: Path, found: Sequence[Reading]) -> list[str]:
    """What a reader would look for and not find."""
    runs, said = [one.outcome for one in found], []
    begun = [one for one in found if one.outcome.attempts]
    name = measure(runs)

    def say(count: int, one: str, many: str) -> None:
        if count:
            said.append(one if count == 1 else many.format(count))

    running = sum(run.state == "running" for run in runs)
    say(running, "1 run is under way; its figures will change.", "{} runs are under way; their figures will change.")
    say(sum(not run.attempts for run in runs), "1 run has not started.", "{} runs have not started.")
    unread = sum(bool(run.troubles) for run in runs)
    say(unread, "Of 1 run something is missing or can't be read; its own section says what.",
        "Of {} runs something is missing or can't be read; their own sections say what.")  # fmt: skip
    bare = sum(not one.curves.lines for one in begun)
    say(bare, "1 run that began has no metrics, and no curve.", "{} runs that began have no metrics, and no curves.")
    if not name:
        said.append("No run has a score: nothing was evaluated yet, so runs are ordered by loss.")
    unmeasured = sum(name not in run.scores for run in runs) if name else 0
    say(unmeasured, f"1 run has no score of {name}, and comes last.",
        f"{{}} runs have no score of {name.replace('{', '{{').replace('}', '}}')}, and come last.")  # fmt: skip
    if not about.described(sweep):
        said.append("The sweep has no sweep.yaml that can be read: what was typed is not known.")
    return said
