"""How runs stand, on one screen: counts, what needs a person, the newest and the best few."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from launch.monitor.order import PERSON, by, measure
from launch.monitor.status import Standing
from launch.monitor.table import COLOURS, by_sweep, counted, listed, render, short_names
from launch.text import plain

PAGE = 50  # lines where there is no terminal
_FEW = 8  # rows of a part, at most
_LONGEST = 240  # characters of a last event
_WHY = 60  # characters of a reason
_REST = "--all lists them, --state STATE those in it, --sort KEY (mAP, loss, updated …) in that order."


def show(lines: Sequence[Standing], trouble: str, whole: bool = False) -> None:
    """Prints the table of runs as wide as the terminal is; its brief if it is higher, unless all is wanted."""
    from rich.console import Console

    console = Console()
    height = console.height - 1 if console.is_terminal else PAGE  # a line for the prompt
    console.print(render(lines, trouble, console.width) if whole else fitting(console, lines, trouble, height))


def fitting(console: Any, lines: Sequence[Standing], trouble: str, height: int) -> Any:  # noqa: ANN401 - rich's
    """The whole table if it has no more lines than `height`, else as many rows of each part of the brief as fit."""
    from rich.console import Group

    if len(lines) < height:
        whole = render(lines, trouble, console.width)
        if len(console.render_lines(whole)) <= height:
            return whole
    for few in range(_FEW, -1, -1):
        brief = Group(*_parts(lines, trouble, console.width, few))
        if len(console.render_lines(brief)) <= height:
            break
    return brief


def reason(line: Standing) -> str:
    """What the last event begins with: runs that share it are counted together."""
    return re.split(r"[:;]", line.last)[0][:_WHY].strip()


def _parts(lines: Sequence[Standing], trouble: str, width: int, few: int) -> Iterator[Any]:
    from rich.text import Text

    sweeps, names = by_sweep(lines), short_names(lines)
    shown = list(sweeps)[: max(few, 1)]
    for sweep in shown:
        yield counted(sweep, sweeps[sweep])
    if len(shown) < len(sweeps):
        yield Text(f"… and {len(sweeps) - len(shown)} sweeps more", style="dim")
    if few:
        needy = [line for line in lines if line.state in PERSON]
        yield from _kinds("Needs a person", needy, names, few)
        others = [line for line in lines if line.state not in PERSON]
        yield from _kinds("The others" if needy else "By state", others, names, few)
        newest = [line for line in by(lines, "updated") if line.updated]
        yield from _some("The newest", newest[:few], names, width)
        name = measure(lines)
        best = by(lines, "mAP" if name else "loss")
        best = [line for line in best if (name in line.mAP if name else line.loss is not None)]
        yield from _some(f"The best by {f'mAP ({name})' if name else 'loss'}", best[:few], names, width)
    yield Text(f"{len(lines)} runs. {_REST}", style="dim")
    if trouble:
        yield Text(plain(trouble), style="yellow")


def _kinds(title: str, lines: Sequence[Standing], names: Mapping[tuple[str, str], str], few: int) -> Iterator[Any]:
    """Runs by state and reason, each kind with what its first run says."""
    from rich.table import Table
    from rich.text import Text

    kinds: dict[tuple[str, str], list[Standing]] = {}
    for line in by(lines, "state"):
        kinds.setdefault((line.state, reason(line)), []).append(line)
    if not kinds:
        return
    yield Text(f"\n{title}", style="bold")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for (state, why), own in islice(kinds.items(), few):
        first = own[0]
        said = Text(plain(_cut(names[first.sweep, first.run])) if state in PERSON else plain(why))
        if state in PERSON:
            said.append(f" and {len(own) - 1} more" * (len(own) > 1))
            said.append(f"\n  {plain(_cut(first.last))}" * bool(first.last), style="dim")
        table.add_row(str(len(own)), Text(plain(state), style=COLOURS.get(state, "")), said)
    yield table
    if len(kinds) > few:
        left = sum(len(own) for own in islice(kinds.values(), few, None))
        yield Text(f"… and {left} runs of {len(kinds) - few} kinds more", style="dim")


def _some(title: str, lines: Sequence[Standing], names: Mapping[tuple[str, str], str], width: int) -> Iterator[Any]:
    from rich.text import Text

    if lines:
        yield Text(f"\n{title}", style="bold")
        yield listed([replace(line, last=_cut(line.last)) for line in lines], names, width)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
