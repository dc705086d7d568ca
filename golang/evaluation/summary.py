"""The end of the demo: what the run learned, where to look, what to try next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from golang.evaluation.pictures.curves import MissingMatplotlibError, draw_all
from golang.evaluation.probe.finished import Evaluation, evaluate_run
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics

NEXT = (
    ("a longer run of the same", "python run.py optim.epochs=20"),
    ("the baseline without local views", "python run.py method=swav"),
    ("the cross-view loss trains the trunk too", "python run.py cross_view.detach=false"),
    ("your own photos, no labels needed", "python run.py data=folder data.root=FOLDER"),
    ("the published recipe", "python run.py experiment=coco2014 data.root=FOLDER"),
)


def show_results(run_dir: Path | str, out: IO[str] | None = None) -> Evaluation:
    """Evaluates a finished run, draws its pictures and says what came out: a table on a terminal, plain lines
    elsewhere.

    Without matplotlib the pictures are left out, and a line says so. Raises GolangError as `evaluate_run` does.
    """
    stream = out or sys.stdout
    evaluation = evaluate_run(run_dir)
    try:
        pictures, missing = draw_all(run_dir), ""
    except MissingMatplotlibError as error:
        pictures, missing = [], str(error)
    rows = _rows(run_dir, evaluation)
    if not _rich_table(rows, stream):
        _plain_table(rows, stream)
    lines = ["", f"run folder  {run_dir}", *(f"picture     {path}" for path in pictures)]
    if missing:
        lines.append(f"no pictures: {missing}")
    lines += ["", "try next:"]
    longest = max(len(command) for _, command in NEXT)
    lines += [f"  {command:{longest}}   # {what}" for what, command in NEXT]
    stream.write("\n".join(lines) + "\n")
    stream.flush()
    return evaluation


def _rows(run_dir: Path | str, evaluation: Evaluation) -> list[tuple[str, float, str]]:
    """Name, mAP and a remark for each row of the table."""
    run = RunFolder(run_dir)
    metrics = read_metrics(run.metrics_file)
    name = {"golang": "GOLANG", "swav": "SwAV"}[run.config().method.name]
    steps = f"after {metrics[-1]['step']} steps without a label" if metrics else ""
    gain = evaluation.linear.mAP - evaluation.random_init.mAP
    return [
        (name, evaluation.linear.mAP, f"{steps}, {gain:+.1f} over random"),
        ("random-init trunk", evaluation.random_init.mAP, "the same trunk before its first step"),
        ("chance", evaluation.chance.mAP, "the mean share of positives"),
    ]


TITLE = "linear probe on frozen features, mAP on the validation images"


def _rich_table(rows: Sequence[tuple[str, float, str]], stream: IO[str]) -> bool:
    """Prints a table in colour; False where there is no terminal, or no rich."""
    if not stream.isatty():
        return False
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    table = Table(title=TITLE, title_justify="left")
    table.add_column("features")
    table.add_column("mAP", justify="right")
    table.add_column("")
    for position, (name, points, remark) in enumerate(rows):
        table.add_row(name, f"{points:.1f}", remark, style="bold" if position == 0 else None)
    console = Console(file=stream)
    console.print()
    console.print(table)
    return True


def _plain_table(rows: Sequence[tuple[str, float, str]], stream: IO[str]) -> None:
    longest = max(len(name) for name, _, _ in rows)
    lines = ["", TITLE, *(f"  {name:{longest}}  {points:5.1f}   {remark}" for name, points, remark in rows)]
    stream.write("\n".join(lines) + "\n")
