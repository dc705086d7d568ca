"""What each setting of a grid does to the score, over all other settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from golang.config.identity import OUTSIDE
from golang.records.record import is_below
from launch.report.outcome import RunOutcome


@dataclass(frozen=True)
class Level:
    """One value of a setting, over the runs that have it."""

    value: str
    mean: float
    low: float
    high: float
    runs: int
    spread: float | None  # standard deviation between seeds, of the mean over each; None of fewer than two


@dataclass(frozen=True)
class Effect:
    """One axis of the grid."""

    key: str
    levels: tuple[Level, ...]
    balanced: bool  # every value over the same cells of the other axes


def measure(runs: Sequence[RunOutcome]) -> str:
    """What measured the mAP of most runs; "" if there is none."""
    names = sorted({name for run in runs for name in run.scores})
    return max(names, key=lambda name: sum(name in run.scores for run in runs), default="")


def best_first(runs: Sequence[RunOutcome]) -> list[RunOutcome]:
    """By mAP; then those without one, by loss; then the rest by name."""
    name = measure(runs)
    return sorted(
        runs, key=lambda run: (-run.scores.get(name, -math.inf), math.inf if run.loss is None else run.loss, run.name)
    )


def axes(runs: Sequence[RunOutcome]) -> list[str]:
    """The settings of the grid: those typed for a run that differ between runs; if none was, all that differ."""
    known = [run for run in runs if run.settings]  # of a damaged one nothing differs
    typed = list(dict.fromkeys(key for run in known for key in run.typed))
    keys = typed or sorted({key for run in known for key in run.settings if not is_below(key, OUTSIDE)})
    return [key for key in keys if len({run.settings.get(key, "–") for run in known}) > 1]


def marginals(runs: Sequence[RunOutcome]) -> list[Effect]:
    """The mean of each value of each axis over the cells of the others in which every value has a run: of mAP, or of
    the loss where no run has one."""
    name, keys = measure(runs), axes(runs)
    score = {run.name: run.scores.get(name) if name else run.loss for run in runs}
    scored = [(run, figure) for run in runs if (figure := score[run.name]) is not None]
    found = []
    for key in keys:
        cells: dict[tuple[str, ...], dict[str, list[tuple[str, float]]]] = {}
        for run, figure in scored:
            others = tuple(run.settings.get(other, "–") for other in keys if other != key)
            own = cells.setdefault(others, {}).setdefault(run.settings.get(key, "–"), [])
            own.append((run.settings.get("seed", "–"), figure))
        values = sorted({value for cell in cells.values() for value in cell}, key=_in_order)
        whole = [cell for cell in cells.values() if len(cell) == len(values)]
        if len(values) < 2:
            continue
        counted = whole or list(cells.values())
        levels = (_level(value, [pair for cell in counted for pair in cell.get(value, [])]) for value in values)
        found.append(Effect(key, tuple(levels), bool(whole)))
    return found


def _level(value: str, pairs: Sequence[tuple[str, float]]) -> Level:
    """Of (seed, figure) of its runs."""
    figures = [figure for _, figure in pairs]
    seeds = [fmean(one for own, one in pairs if own == seed) for seed in sorted({seed for seed, _ in pairs})]
    spread = stdev(seeds) if len(seeds) > 1 else None
    return Level(value, fmean(figures), min(figures), max(figures), len(figures), spread)


def _in_order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value
