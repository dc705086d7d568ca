"""What the launcher says on the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.sweep.folder import Plan, Planned, differing
from launch.text import plain, shown

if TYPE_CHECKING:
    from launch.submission.submit import Fate

_SHOWN = 40  # rows of a table; a longer one is cut in the middle


def plan(plan: Plan, script: str) -> None:
    """A dry run: what differs between the runs, what they share, and the batch script."""
    _show_runs(f"{len(plan.runs)} runs for {plan.sweep}", plan.runs, {"id": [run.id for run in plan.runs]})
    if plan.runs[0].cluster.name == "slurm":
        _say("\nThe first run's job.sbatch (an array's differs in --array and in where RUN_DIR comes from):\n")
        _say(script)
    _say("Nothing was submitted. Without dry_run=true the same command submits.")


def fates(plan: Plan, fates: Sequence[Fate]) -> None:
    """What became of each run, and what to type next."""
    runs = [fate.run for fate in fates]
    columns = {
        "id": [run.id for run in runs], "now": [fate.word for fate in fates], "job": [fate.job for fate in fates],
        "remark": [fate.remark for fate in fates],
    }  # fmt: skip
    _show_runs(str(plan.sweep), runs, columns)
    _say(", ".join(f"{number} {word}" for word, number in Counter(columns["now"]).items()))
    if plan.code == "current" and any(remark.startswith("with today's code") for remark in columns["remark"]):
        _say("Runs submitted before go on with today's code and settings; code=frozen keeps the old code.")
    sweep = shown([str(plan.sweep)])
    _say(
        f"\nNext:  python -m launch status {sweep}\n"
        f"       python -m launch logs {fates[0].run.id}\n"
        f"       python -m launch cancel {sweep}\n"
        "       the same command again continues what is missing or failed"
    )


def _show_runs(title: str, runs: Sequence[Planned], columns: Mapping[str, Sequence[str]]) -> None:
    """One row a run: `columns`, unless empty, and then the settings that differ; below it those that all share."""
    common, own = differing(runs)
    keys = list(dict.fromkeys(key for row in own for key in row))
    used = {name: texts for name, texts in columns.items() if any(texts)}
    table = Table(box=None, pad_edge=False)
    for name in [*used, *keys]:
        table.add_column(Text(name), overflow="fold")
    for number, row in enumerate(own):
        if len(runs) > _SHOWN and _SHOWN // 2 <= number < len(runs) - _SHOWN // 2:
            if number == _SHOWN // 2:
                table.add_row(Text(f"… {len(runs) - _SHOWN} more"))
            continue
        texts = [*(column[number] for column in used.values()), *(row.get(key, "") for key in keys)]
        table.add_row(*(Text(plain(text)) for text in texts))
    _say(title)  # not as the table's own, which is folded to its width
    _console().print(table)
    if common:
        _say(f"All of them: {' '.join(common)}")


def _say(text: str) -> None:
    _console().print(Text(plain(text, keep="\n")), soft_wrap=True)


def _console() -> Console:
    # In a pipe nothing is folded: a program may read it.
    return Console(width=None if sys.stdout.isatty() else 400, highlight=False)
