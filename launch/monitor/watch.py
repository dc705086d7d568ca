"""`python -m launch watch SWEEP|RUN`: the table of runs, again and again."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from launch.monitor.status import Standing
from launch.monitor.table import render


def watch(look: Callable[[], tuple[list[Standing], str]], every: float) -> None:
    """Shows how runs stand until none is under way: in place on a terminal, elsewhere once for every change. One that
    waits for ever is not."""
    from rich.console import Console
    from rich.live import Live

    console, before = Console(), None
    in_place = console.is_terminal and not console.is_dumb_terminal
    with Live(console=console, auto_refresh=False) if in_place else contextlib.nullcontext() as live:
        while True:
            lines, trouble = look()
            now = [(line.run, line.state, line.step, line.attempts, line.last) for line in lines], trouble
            if live is not None:
                live.update(screen(console, lines, trouble), refresh=True)
            elif now != before:
                console.print(time.strftime("%Y-%m-%d %H:%M:%S"))
                console.print(render(lines, trouble, console.width))
            before = now
            if not any(line.state in UNDER_WAY for line in lines):
                return
            time.sleep(every)


def screen(console: Any, lines: Sequence[Standing], trouble: str) -> Any:  # noqa: ANN401 - rich's
    """As many runs as fit on the console, the ones to look at first, and a count of the others."""
    from rich.console import Group
    from rich.text import Text

    order = sorted(lines, key=lambda line: ORDER.index(line.state if line.state in ORDER else ""))
    shown = min(len(order), console.height)
    while True:
        parts = [render(order[:shown], trouble, console.width, lines)]
        if hidden := Counter(line.state for line in order[shown:]):
            counts = ", ".join(f"{count} {state}" for state, count in hidden.items())
            parts.append(Text(f"… and {counts}", style="dim"))
        parts.append(Text(time.strftime("%H:%M:%S, Ctrl-C leaves"), style="dim"))
        whole = Group(*parts)
        excess = len(console.render_lines(whole)) - console.height
        if excess <= 0 or shown == 1:
            return whole
        shown = max(1, shown - max(1, excess // 4))  # a run may take several lines
