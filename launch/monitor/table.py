"""The table of runs, for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from launch.monitor.status import Standing
from launch.text import plain

COLOURS = {
    "finished": "green", "running": "cyan", "waiting": "yellow", "stopped": "magenta", "cancelled": "magenta",
    "failed": "red", "died": "red", "stuck": "red", "gone": "magenta",
    "submitted": "yellow", "not submitted": "dim",
}  # fmt: skip
WIDE = 100  # columns from which on there is room for the nodes


def differing(runs: Sequence[str]) -> dict[str, str]:
    """Short names: what distinguishes each run's label, with its id."""
    split = {name: name.rpartition("-")[0].split(",") for name in runs}
    common = set.intersection(*(set(parts) for parts in split.values())) if len(split) > 1 else set()
    own = {name: ",".join(part for part in parts if part not in common) for name, parts in split.items()}
    return {name: f"{words} {name.rpartition('-')[2]}".strip() for name, words in own.items()}


def short_names(lines: Sequence[Standing]) -> dict[tuple[str, str], str]:
    """`differing` within each sweep, by sweep and run; with the sweep's name before it where there are several."""
    found = {}
    sweeps = by_sweep(lines)
    for sweep, own in sweeps.items():
        for run, name in differing([line.run for line in own]).items():
            found[sweep, run] = name if len(sweeps) == 1 else f"{sweep}: {name}"
    return found


def by_sweep(lines: Sequence[Standing]) -> dict[str, list[Standing]]:
    found: dict[str, list[Standing]] = {}
    for line in lines:
        found.setdefault(line.sweep, []).append(line)
    return found


def counted(sweep: str, lines: Sequence[Standing]) -> Any:  # noqa: ANN401 - rich's
    """A sweep's title: how many of its runs are in which state."""
    from rich.text import Text

    states = Counter(line.state for line in lines)
    return Text(plain(f"{sweep}: " + ", ".join(f"{count} {state}" for state, count in states.items())), "italic")


def render(lines: Sequence[Standing], trouble: str, width: int = WIDE) -> Any:  # noqa: ANN401 - a rich renderable
    """A compact table for each sweep, with its title, and what of Slurm could not be asked."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = []
    for sweep, own in by_sweep(lines).items():
        parts += [counted(sweep, own), listed(own, short_names(own), width)]
    return Group(*parts, *([Text(plain(trouble), style="yellow")] if trouble else []))


def listed(lines: Sequence[Standing], names: Mapping[tuple[str, str], str], width: int) -> Any:  # noqa: ANN401 - a rich Table
    """A row for each run, by its name of `names`. Fewer columns than `WIDE` leave the node out, and put the last event
    below the run."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    measured = any(line.mAP for line in lines)
    for column in ("step", "loss", *(["mAP"] if measured else []), "att."):
        table.add_column(column, justify="right", no_wrap=column != "mAP")
    if width >= WIDE:
        table.add_column("node", overflow="ellipsis", no_wrap=True, max_width=12)
        table.add_column("last event", overflow="fold")
    for line in lines:
        name, last = Text(plain(names[line.sweep, line.run])), plain(line.last)
        if last and width < WIDE:
            name.append(f"\n  {last}", style="dim")
        table.add_row(
            name, Text(plain(line.state), style=COLOURS.get(line.state, "")),
            steps(line), "–" if line.loss is None else f"{line.loss:.3f}",
            *(["\n".join(points(line)) or "–"] if measured else []), str(line.attempts),
            *([Text(plain(line.node)), Text(last)] if width >= WIDE else []),
        )  # fmt: skip
    return table


def steps(line: Standing) -> str:
    return f"{line.step}/{line.total}" if line.total else "–"


def points(line: Standing) -> list[str]:
    """Each mAP, with what measured it where there are several."""
    return [f"{key} {value:.1f}" if len(line.mAP) > 1 else f"{value:.1f}" for key, value in line.mAP.items()]
