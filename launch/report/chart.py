"""report.png: how the runs did, what each setting does, and when which attempt ran."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golang.disk.whole import put
from golang.drawing import INK, figure, matplotlib, png
from launch.report.effects import Effect, axes, marginals, measure
from launch.report.outcome import RunOutcome

# Okabe and Ito's palette: told apart with any colour vision; hatches tell bars apart without any colour.
FIXED = {"finished": ("#009E73", ""), "running": ("#56B4E9", ""), "lost": ("#000000", "")}
OTHERS = (("#E69F00", "////"), ("#0072B2", "...."), ("#D55E00", "xxxx"), ("#CC79A7", "\\\\\\\\"), ("#F0E442", "++++"))
REST = "other"
FAINT = "#bbbbbb"
MOST = 40  # runs on the picture
_EFFECTS = 6  # settings with a panel of their own
_TICKS = 16  # values of a setting that are named
_LONGEST = 34  # characters of a run's label
_DOTS_PER_INCH = 130


def draw(runs: Sequence[RunOutcome], path: Path) -> Path:
    """Draws the first `MOST` of runs in their order, the best first, and says so; effects are of all of them. Raises
    MissingMatplotlibError, OSError."""
    effects, what, number = marginals(runs)[:_EFFECTS], _what(runs), len(runs)
    runs = runs[:MOST]
    row = 0.26 if len(runs) <= 20 else 0.19
    upper, lower = max(2.4, row * len(runs) + 1.0, 1.55 * len(effects)), max(1.9, row * len(runs) + 1.2)
    whole = figure(11.0, upper + lower)
    whole.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    above, below = whole.subfigures(2, 1, height_ratios=(upper, lower))
    labels, legend = _labels(runs)
    size = 8 if len(runs) <= 20 else 7
    left, *right = above.subfigures(1, 2, width_ratios=(1.35, 1.0)) if effects else [above]
    for part in right:
        _effects(part, effects, what)
    title = "Runs, the best first" if number <= MOST else f"The best {MOST} of {number} runs; all: report.md"
    _scores(left.subplots(), runs, labels, size, [title, *textwrap.wrap(legend, 50)])
    _time_line(below, runs, labels, size)
    put(path, lambda file: file.write(png(whole, _DOTS_PER_INCH)), durable=False)
    return path


def _scores(panel: Any, runs: Sequence[RunOutcome], labels: Sequence[str], size: int, title: Sequence[str]) -> None:  # noqa: ANN401
    name = measure(runs)
    values = [run.scores.get(name) if name else run.loss for run in runs]
    spots = [(value, place) for place, value in enumerate(values) if value is not None]
    panel.plot([value for value, _ in spots], [place for _, place in spots], "o", color="#0072B2", markersize=5)
    for place, value in enumerate(values):
        if value is None:
            where = panel.get_yaxis_transform()
            panel.text(0.02, place, "not measured", transform=where, va="center", color="#777777", fontsize=size - 1)
    _rows(panel, labels, size)
    panel.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    panel.set_xlabel(_what(runs), fontsize=9)
    panel.margins(x=0.08)
    panel.set_title("\n".join(title), loc="left", color=INK, fontsize=10)
    if not spots:
        panel.set_xticks([])


def _effects(part: Any, effects: Sequence[Effect], what: str) -> None:  # noqa: ANN401
    panels = part.subplots(len(effects), 1, squeeze=False)[:, 0]
    for panel, effect in zip(panels, effects, strict=True):
        places = range(len(effect.levels))
        lows, highs = [level.low for level in effect.levels], [level.high for level in effect.levels]
        panel.vlines(places, lows, highs, color=FAINT, linewidth=3, capstyle="round")
        panel.plot(places, [level.mean for level in effect.levels], "o-", color="#D55E00", markersize=4, linewidth=1.2)
        few = len(effect.levels) <= 8
        named = places[:: math.ceil(len(places) / _TICKS)]
        shown = [_plain(_short(effect.levels[place].value, 12 if few else 8)) for place in named]
        panel.set_xticks(list(named), shown, fontsize=7, rotation=0 if few and max(map(len, shown)) < 8 else 30)
        panel.set_xlim(-0.5, len(effect.levels) - 0.5)
        panel.tick_params(axis="y", labelsize=7)
        panel.margins(y=0.15)
        panel.spines[["top", "right"]].set_visible(False)
        mark = "" if effect.balanced else " (not balanced)"
        panel.set_title(_plain(_short(effect.key, 40) + mark), loc="left", fontsize=8, color=INK)
    part.suptitle(f"Mean {what}; grey: lowest to highest", x=0.02, ha="left", fontsize=9, color=INK)


def _time_line(part: Any, runs: Sequence[RunOutcome], labels: Sequence[str], size: int) -> None:  # noqa: ANN401
    panel = part.subplots()
    starts = [[*run.submitted, *(attempt.began for attempt in run.attempts)] for run in runs]
    zero = min((time for times in starts for time in times), default=0.0)
    last = max((attempt.ended for run in runs for attempt in run.attempts), default=zero + 1)
    unit, name = _unit(last - zero)
    styles = _styles(runs)
    for place, (run, known) in enumerate(zip(runs, starts, strict=True)):
        ends = [attempt.ended for attempt in run.attempts] or known
        if known:
            panel.plot([(min(known) - zero) / unit, (max(ends) - zero) / unit], [place, place], color=FAINT, zorder=1)
        for cause in dict.fromkeys(attempt.cause for attempt in run.attempts):
            color, hatch = styles.get(cause, styles.get(REST, FIXED["lost"]))
            bars = [((one.began - zero) / unit, one.seconds / unit) for one in run.attempts if one.cause == cause]
            panel.broken_barh(bars, (place - 0.31, 0.62), facecolors=color, hatch=hatch, edgecolor="white",
                              linewidth=0.6, zorder=2)  # fmt: skip
        share = "–" if run.goodput is None else f"{100 * run.goodput:.0f} %"
        panel.text(1.01, place, share, transform=panel.get_yaxis_transform(), va="center", fontsize=size, color=INK)
    panel.text(1.01, 1.0, "goodput", transform=panel.transAxes, va="bottom", fontsize=size, color=INK)
    _rows(panel, labels, size)
    panel.set_xlabel(f"{name} since the first submission or start; grey: waiting", fontsize=9)
    panel.set_title("Attempts, by what ended them", loc="left", color=INK, fontsize=10)
    patch = matplotlib("patches").Patch
    looks = {_plain(_short(cause, 24)): style for cause, style in styles.items()}
    marks = [
        patch(facecolor=color, hatch=hatch, edgecolor="white", label=label) for label, (color, hatch) in looks.items()
    ]
    if marks:
        part.legend(handles=marks, loc="outside lower center", ncols=min(6, len(marks)), frameon=False, fontsize=8)


def _rows(panel: Any, labels: Sequence[str], size: int) -> None:  # noqa: ANN401
    panel.set_yticks(range(len(labels)), labels, fontsize=size)
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.set_axisbelow(True)


def _styles(runs: Sequence[RunOutcome]) -> dict[str, tuple[str, str]]:
    """Colour and hatch of each cause, the frequent ones first; what is left over shares one."""
    counts = Counter(attempt.cause for run in runs for attempt in run.attempts)
    others = [cause for cause, _ in counts.most_common() if cause not in FIXED]
    styles = {cause: style for cause, style in FIXED.items() if counts[cause]}
    if len(others) > len(OTHERS):
        others = [*others[: len(OTHERS) - 1], REST]
    return styles | dict(zip(others, OTHERS, strict=False))


def _labels(runs: Sequence[RunOutcome]) -> tuple[list[str], str]:
    """A run's own values and its number in the tables; and what the values are of, where that does not fit in."""
    keys = axes(runs)
    names = [key.split(".")[-1] for key in keys]
    values = [[run.settings.get(key, "–") for key in keys] for run in runs]
    own = [", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True)) for row in values]
    fits = max(map(len, own)) <= _LONGEST
    if not fits:
        own = [" · ".join(_short(value, 12) for value in row) for row in values]
    found = [
        _plain(f"{_short(text or run.name, _LONGEST)}   #{number}")
        for number, (text, run) in enumerate(zip(own, runs, strict=True), start=1)
    ]
    return found, "" if fits else _plain(" · ".join(names))


def _what(runs: Sequence[RunOutcome]) -> str:
    return f"mAP, percent ({_plain(measure(runs))})" if measure(runs) else "loss"


def _unit(seconds: float) -> tuple[float, str]:
    units = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
    return next((named for named in units if seconds > 3 * named[0]), (1.0, "seconds"))


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: math.ceil(longest * 0.7)] + "…" + text[-int(longest * 0.25) :]


def _plain(text: str) -> str:
    """Text that matplotlib shows as it is: a dollar sign would begin a formula."""
    return "".join(character if character.isprintable() else " " for character in text).replace("$", r"\$")
