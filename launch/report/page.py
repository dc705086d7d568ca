"""`python -m launch report SWEEP`: a sweep's runs as report/report.md; as report/index.html, the page, where Jinja2 and
Plotly are; as report/report.png where matplotlib is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from golang.drawing import MissingMatplotlibError
from golang.errors import GolangError
from golang.runfolder import files
from golang.runfolder.files import now
from launch.report.chart import draw
from launch.report.effects import axes, marginals, measure
from launch.report.outcome import RunOutcome
from launch.report.web.costs import GOODPUT
from launch.report.web.payload import report
from launch.report.web.render import MissingPageError, render
from launch.sweep.paths import Sweep


class ReportError(GolangError):
    """The report can't be written."""


def write(sweep: Path) -> list[Path]:
    """Writes the report; the files made. Raises ReportError if there is nothing to report, or no place for it."""
    runs, content = report(sweep)
    if not runs:
        raise ReportError(f"{sweep} holds no run to report on; python -m launch status lists what there is")
    place = Sweep(sweep)
    made = [place.report_text]
    if place.report.is_symlink():
        raise ReportError(f"{place.report} is a link to elsewhere, and a report stays in its sweep; delete it")
    try:
        place.report.mkdir(mode=0o700, exist_ok=True)
        try:
            made.append(draw(runs, place.report_picture))
            picture = "![runs, effects, time line](report.png)"
        except MissingMatplotlibError as error:
            picture = f"No picture: {error}"
        try:
            files.write(place.report_page, render(content), durable=False)
            made.append(place.report_page)
            whole = "[The page](index.html) shows the same to look at, sort and filter."
        except MissingPageError as error:
            whole = f"No page: {error}"
        files.write(place.report_text, "\n".join(_lines(place, runs, [whole, picture])) + "\n")
    except OSError as error:
        raise ReportError(f"can't write to {place.report}: {error.strerror}; make room, or report on a copy") from error
    return made


def _lines(place: Sweep, runs: Sequence[RunOutcome], beside: Sequence[str]) -> Iterator[str]:
    states = ", ".join(f"{count} {state}" for state, count in Counter(run.state for run in runs).items())
    yield from (f"# {_plain(place.path.name)}", "", f"{len(runs)} runs: {_plain(states)}. Written {now()}.", "")
    yield from (line for text in beside for line in (text, ""))
    yield from ("## Runs", "", *_table_of_runs(runs), "")
    yield from _effects(runs)
    yield from _pictures(runs, place.report)
    yield from _goodput(runs)
    yield from ("## Attempts", "", *_table_of_attempts(runs), "")
    yield from ("## Failures", "", *_failures(runs))


def _table_of_runs(runs: Sequence[RunOutcome]) -> Iterator[str]:
    name = measure(runs)
    others = sorted({key for run in runs for key in (*run.scores, *run.beside)} - {name})
    keys = axes(runs)
    rows = [
        [number, *(run.settings.get(key, "–") for key in keys),
         *(_figure((run.scores | run.beside).get(key), 2) for key in (name, *others)), _figure(run.loss, 4),
         f"{run.step}/{run.total}" if run.total else run.step, run.state, run.name]
        for number, run in enumerate(runs, start=1)
    ]  # fmt: skip
    heads = ["#", *keys, f"mAP ({name})" if name else "mAP", *others, "loss", "steps", "state", "run"]
    yield from _table(heads, rows)
    if any(name not in run.scores for run in runs):
        yield from ("", "Runs without an mAP come last, by the loss of their last log line; where they have come "
                    "differently far, losses do not compare.")  # fmt: skip


def _effects(runs: Sequence[RunOutcome]) -> Iterator[str]:
    found = marginals(runs)
    if not found:
        return
    what = f"mAP ({measure(runs)})" if measure(runs) else "loss"
    explained = (
        f"Mean {what} of a value over all other settings. Where runs are missing, only those cells of the grid count "
        "in which every value of the setting has a run."
    )
    yield from ("## What each setting does", "", explained, "")
    rows = [
        [effect.key, level.value, _figure(level.mean, 3), f"{_figure(level.low, 3)} – {_figure(level.high, 3)}",
         level.runs, "" if effect.balanced else "not balanced: no cell has all values"]
        for effect in found for level in effect.levels
    ]  # fmt: skip
    yield from (*_table(["setting", "value", f"mean {what}", "lowest – highest", "runs", ""], rows), "")


def _pictures(runs: Sequence[RunOutcome], report: Path) -> Iterator[str]:
    """Links from the folder of the report to what evaluations have drawn, where any has."""
    rows = [
        [number, name, ", ".join(_link(path, report) for path in paths)]
        for number, run in enumerate(runs, start=1) for name, paths in run.pictures.items()
    ]  # fmt: skip
    if rows:
        yield from ("## Pictures", "")
        yield from (f"- {_plain(f'{number}, {name}')}: {links}" for number, name, links in rows)
        yield ""


def _link(path: Path, report: Path) -> str:
    return f"[{_plain(path.name)}]({quote(os.fsencode(os.path.relpath(path, report)))})"


def _goodput(runs: Sequence[RunOutcome]) -> Iterator[str]:
    useful, total = sum(run.useful for run in runs), sum(run.total_seconds for run in runs)
    yield from ("## Goodput", "")
    if not total:
        begun = any(run.attempts for run in runs)
        yield from ("No attempt has lasted a second." if begun else "No attempt has begun.", "")
        return
    again = sum(run.repeated for run in runs)
    yield f"**{100 * useful / total:.1f} %**: {useful:,.0f} of {total:,.0f} GPU-seconds; {again} steps were done again."
    yield from ("", GOODPUT, "")
    rows = [
        [number, f"{run.useful:,.0f}", f"{run.total_seconds:,.0f}",
         "–" if run.goodput is None else f"{100 * run.goodput:.1f} %", run.repeated, len(run.attempts)]
        for number, run in enumerate(runs, start=1)
    ]  # fmt: skip
    yield from (*_table(["#", "useful", "total", "goodput", "steps done again", "attempts"], rows), "")


def _table_of_attempts(runs: Sequence[RunOutcome]) -> Iterator[str]:
    rows = [
        [number, f"{attempt.number}, same nodes" if attempt.in_place else attempt.number,
         f"{datetime.fromtimestamp(attempt.began):%Y-%m-%d %H:%M:%S}", f"{attempt.seconds:,.0f}", attempt.ranks,
         attempt.host, attempt.resumed, attempt.reached, attempt.cause]
        for number, run in enumerate(runs, start=1) for attempt in run.attempts
    ]  # fmt: skip
    heads = ["#", "attempt", "began", "seconds", "ranks", "node", "from step", "to step", "ended by"]
    return _table(heads, rows) if rows else iter(["None has begun."])


def _failures(runs: Sequence[RunOutcome]) -> Iterator[str]:
    ends = Counter(attempt.cause for run in runs for attempt in run.attempts)
    del ends["finished"], ends["running"]
    if ends:
        ended = ", ".join(f"{cause} {count}" for cause, count in ends.most_common())
        yield from (f"Attempts that ended before the run was finished: {_plain(ended)}.", "")
    rows = [[number, *failure] for number, run in enumerate(runs, start=1) for failure in run.failures]
    yield from _table(["#", "attempt", "cause", "message"], rows) if rows else ("No attempt failed.",)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    for row in (heads, *rows):
        yield "| " + " | ".join(_plain(str(cell)) for cell in row) + " |"
        if row is heads:
            yield "|" + "---|" * len(heads)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line: what runs said is not ours."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    for character in "&\\`*_[]<>|$~":
        line = line.replace(character, f"&#{ord(character)};" if character in "&<>|$~" else "\\" + character)
    return line.replace("://", "&#58;//")  # no link, which a bare address would be


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
