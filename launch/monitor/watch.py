"""`python -m launch watch SWEEP|RUN`: how runs stand, again and again, until none is under way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.monitor import brief
from launch.monitor.order import UNDER_WAY
from launch.monitor.status import Standing

_Look = Callable[[], tuple[list[Standing], str]]


def watch(look: _Look, every: float, where: Callable[[Standing], Path]) -> None:
    """Shows how runs stand until none is under way, which one that waits for ever is not: on a terminal as a board with
    keys, elsewhere once for every change. `every`: seconds between looks; `where`: a run's folder."""
    from rich.console import Console

    console = Console()
    board = console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty()
    lines, trouble = look()
    if board and under_way(lines):
        from launch.monitor.board import Board

        if Board(look, every, where, (lines, trouble)).run() is None:
            return  # a person left
        lines, trouble = look()
    before = None
    while True:
        now = [(line.run, line.state, line.step, line.attempts, line.last) for line in lines], trouble
        if now != before:
            if not board:
                console.print(time.strftime("%Y-%m-%d %H:%M:%S"))
            brief.show(lines, trouble)
        if not under_way(lines):
            return
        before = now
        time.sleep(every)
        lines, trouble = look()


def under_way(lines: Sequence[Standing]) -> bool:
    return any(line.state in UNDER_WAY for line in lines)
