"""`python -m launch compare RUN RUN`: a comparison on a terminal."""

from __future__ import annotations

from typing import Any

from launch.report.compare import Comparison, Difference, Parting, Score
from launch.text import plain

CLASSES = 12  # that moved most, of all evaluations
TITLES = {"setting": "Settings", "data": "Data", "code": "Code", "version": "Versions"}


def show(found: Comparison) -> None:
    """Prints it as wide as the terminal is."""
    from rich.console import Console

    Console().print(render(found))


def render(found: Comparison) -> Any:  # noqa: ANN401 - a rich renderable
    """A for the first run and B for the second; what others wrote is shown as text."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = []
    for mark, run in (("A", found.one), ("B", found.other)):
        steps = f"{run.step}/{run.total}" if run.total else str(run.step)
        parts.append(Text.assemble((f"{mark}  ", "bold"), plain(f"{run.name}  {run.state}, step {steps}")))
    alike = []
    for kind, title in TITLES.items():
        own = [one for one in found.differences if one.kind == kind]
        for counts, heading in ((True, title), (False, f"{title} that change no result")):
            if some := [one for one in own if one.counts == counts]:
                parts += [Text(), _differences(heading, some)]
        alike += [] if own else [title.lower()]
    parts += [Text(), Text(f"The same in both: {', '.join(alike)}", style="dim")] if alike else []
    if found.parting:
        parts += [Text(), Text("Loss", style="bold"), Text(_parting(found.parting))]
    parts += [Text(), _scores("Evaluations", "evaluation", found.scores)] if found.scores else []
    if found.classes:
        title = f"Classes that moved most, of {len(found.classes)}"
        parts += [Text(), _scores(title, "class", found.classes[:CLASSES])]
    parts += [Text(), *(Text(plain(line), style="yellow") for line in found.missing)] if found.missing else []
    return Group(*parts)


def _table(title: str, *columns: str, right: int) -> Any:  # noqa: ANN401 - rich's
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if place >= right else "left")
    return table


def _differences(title: str, own: list[Difference]) -> Any:  # noqa: ANN401 - rich's
    from rich.text import Text

    table = _table(title, "", "A", "B", right=3)
    for one in own:
        table.add_row(*(Text(plain(text)) for text in (one.key, one.one, one.other)))
    return table


def _parting(parting: Parting) -> str:
    end = f"at step {parting.end}, the last of both, A {parting.last[0]:.4f}, B {parting.last[1]:.4f}"
    if parting.at is None or parting.first is None:
        return f"the same at all {parting.steps} steps that both logged; {end}"
    same = f"the same up to step {parting.before}; " if parting.before is not None else ""
    first = f"A {parting.first[0]:.6g}, B {parting.first[1]:.6g}"
    moved = f"{parting.last[1] - parting.last[0]:+.4f}"
    return f"{same}first differs at step {parting.at}: {first}; {end}: {moved}"


def _scores(title: str, what: str, scores: tuple[Score, ...]) -> Any:  # noqa: ANN401 - rich's
    from rich.text import Text

    several = len({one.evaluation for one in scores}) > 1 and what == "class"
    table = _table(title, what, "A", "B", "B − A", right=1)
    for one in scores:
        name = f"{one.label} ({one.evaluation})" if several else one.label or one.evaluation
        style = "green" if one.moved > 0 else "red" if one.moved < 0 else ""
        figures = (f"{one.one:.1f}", f"{one.other:.1f}", Text(f"{one.moved:+.1f}", style=style))
        table.add_row(Text(plain(name)), *figures)
    return table
