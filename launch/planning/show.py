"""What the launcher says on the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.submission.submit import Fate
from launch.sweep.folder import Plan, Planned, differing
from launch.text import plain, shown

_SHOWN = 40  # rows of a table; a longer one is cut in the middle


def plan(plan: Plan, script: str) -> None:
    """A dry run: what differs between the runs, what they share, and the batch script."""
    console = _console()
    cells = [[run.id] for run in plan.runs]
    common = _table(console, f"{len(plan.runs)} runs for {plan.sweep}", plan.runs, cells, ["id"])
    _say(console, f"All of them: {common}" if common else "")
    if plan.runs[0].cluster.name == "slurm":
        _say(console, "\nThe first run's job.sbatch (an array's differs in --array and in where RUN_DIR comes from):\n")
        _say(console, script)
    _say(console, "Nothing was submitted. Without dry_run=true the same command submits.")


def fates(plan: Plan, fates: Sequence[Fate]) -> None:
    """What became of each run, and what to type next."""
    console = _console()
    cells = [[fate.run.id, fate.word, fate.job, fate.remark] for fate in fates]
    runs = [fate.run for fate in fates]
    common = _table(console, str(plan.sweep), runs, cells, ["id", "now", "job", "remark"])
    _say(console, f"All of them: {common}" if common else "")
    counts = Counter(fate.word for fate in fates)
    _say(console, ", ".join(f"{number} {word}" for word, number in counts.items()))
    if plan.code == "current" and any(fate.remark.startswith("with today's code") for fate in fates):
        _say(
            console,
            "Runs submitted before go on with today's code and settings; code=frozen keeps the old code.",
        )
    sweep = shown([str(plan.sweep)])
    _say(
        console,
        f"\nNext:  python -m launch status {sweep}\n"
        f"       python -m launch logs {fates[0].run.id}\n"
        f"       python -m launch cancel {sweep}\n"
        "       the same command again continues what is missing or failed",
    )


def _table(console: Console, title: str, runs: Sequence[Planned], cells: list[list[str]], columns: list[str]) -> str:
    """Prints one row a run, `cells` first and then what differs; returns what all runs share."""
    common, own = differing(runs)
    keys = list(dict.fromkeys(key for row in own for key in row))
    used = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    table = Table(box=None, pad_edge=False)
    for name in [*(columns[index] for index in used), *keys]:
        table.add_column(Text(name), overflow="fold")
    for number, (row, values) in enumerate(zip(cells, own, strict=True)):
        if len(runs) > _SHOWN and _SHOWN // 2 <= number < len(runs) - _SHOWN // 2:
            if number == _SHOWN // 2:
                table.add_row(Text(f"… {len(runs) - _SHOWN} more"))
            continue
        table.add_row(*(Text(plain(row[index])) for index in used), *(Text(plain(values.get(key, ""))) for key in keys))
    _say(console, title)  # not as the table's own, which is folded to its width
    console.print(table)
    return " ".join(common)


def _say(console: Console, text: str) -> None:
    if text:
        console.print(Text(plain(text, keep="\n")), soft_wrap=True)


def _console() -> Console:
    # In a pipe nothing is folded: a program may read it.
    return Console(width=None if sys.stdout.isatty() else 400, highlight=False)
