"""The table of runs, for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from launch.monitor.status import Standing
from launch.text import plain

COLOURS = {
    "finished": "green", "running": "cyan", "waiting": "yellow", "stopped": "magenta", "cancelled": "magenta",
    "failed": "red", "died": "red", "stuck": "red", "gone": "magenta",
    "submitted": "yellow", "not submitted": "dim",
}  # fmt: skip
WIDE = 100  # columns from which on there is room for the nodes


def show(lines: Sequence[Standing], trouble: str) -> None:
    """Prints the table as wide as the terminal is."""
    from rich.console import Console

    console = Console()
    console.print(render(lines, trouble, console.width))


def differing(runs: Sequence[str]) -> dict[str, str]:
    """Short names: what distinguishes each run's label, with its id."""
    split = {name: name.rpartition("-")[0].split(",") for name in runs}
    common = set.intersection(*(set(parts) for parts in split.values())) if len(split) > 1 else set()
    own = {name: ",".join(part for part in parts if part not in common) for name, parts in split.items()}
    return {name: f"{words} {name.rpartition('-')[2]}".strip() for name, words in own.items()}


def render(lines: Sequence[Standing], trouble: str, width: int = WIDE, everything: Sequence[Standing] = ()) -> Any:  # noqa: ANN401 - a rich renderable
    """A compact table for each sweep; its title counts `everything` if not all is shown. Fewer columns than `WIDE`
    leave the node out, and put the last event below the run."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for sweep in dict.fromkeys(line.sweep for line in lines):
        own = [line for line in lines if line.sweep == sweep]
        states = Counter(line.state for line in everything or lines if line.sweep == sweep)
        title = Text(plain(f"{sweep}: " + ", ".join(f"{count} {state}" for state, count in states.items())), "italic")
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("run", overflow="fold")
        table.add_column("state", no_wrap=True)
        measured = any(line.mAP for line in own)
        for column in ("step", "loss", *(["mAP"] if measured else []), "att."):
            table.add_column(column, justify="right", no_wrap=column != "mAP")
        if width >= WIDE:
            table.add_column("node", overflow="ellipsis", no_wrap=True, max_width=12)
            table.add_column("last event", overflow="fold")
        names = differing([line.run for line in own])
        for line in own:
            name, last = Text(plain(names[line.run])), plain(line.last)
            if last and width < WIDE:
                name.append(f"\n  {last}", style="dim")
            points = [f"{key} {value:.1f}" if len(line.mAP) > 1 else f"{value:.1f}" for key, value in line.mAP.items()]
            table.add_row(
                name, Text(plain(line.state), style=COLOURS.get(line.state, "")),
                f"{line.step}/{line.total}" if line.total else "–", "–" if line.loss is None else f"{line.loss:.3f}",
                *(["\n".join(points) or "–"] if measured else []), str(line.attempts),
                *([Text(plain(line.node)), Text(last)] if width >= WIDE else []),
            )  # fmt: skip
        parts += [title, table]
    if trouble:
        parts.append(Text(plain(trouble), style="yellow"))
    return Group(*parts)
