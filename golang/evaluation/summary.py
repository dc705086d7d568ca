"""The end of the demo: what the run learned, where to look, what to try next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from golang import tables
from golang.drawing import MissingMatplotlibError
from golang.evaluation.pictures.attention import draw_attention
from golang.evaluation.pictures.curves import draw_curves
from golang.evaluation.probe.finished import ProbeResult, probe_run
from golang.method.model import display_name
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics
from golang.sources import program

TITLE = "linear probe on frozen features, mAP on the validation images"
NEXT = (
    ("a longer run of the same", f"{program()} optim.epochs=20"),
    ("the baseline without local views", f"{program()} method=swav"),
    ("the cross-view loss trains the trunk too", f"{program()} cross_view.detach=false"),
    ("your own photos, no labels needed", f"{program()} data=folder data.root=FOLDER"),
    ("the published recipe", f"{program()} experiment=coco2014 data.root=FOLDER"),
)


def show_results(run_dir: Path | str, out: IO[str] | None = None) -> ProbeResult:
    """Probes a finished run, draws its pictures and says what came out: a table on a terminal, plain lines elsewhere.

    Without matplotlib the pictures are excluded, and a line says so. Raises GolangError as `probe_run` does.
    """
    run, stream = RunFolder(run_dir), out or sys.stdout
    found = probe_run(run)
    lines = ["", f"run folder  {run_dir}"]
    try:
        lines += [f"picture     {path}" for path in (draw_curves(run), draw_attention(run)) if path is not None]
    except MissingMatplotlibError as error:
        lines.append(f"no pictures: {error}")
    longest = max(len(command) for _, command in NEXT)
    lines += ["", "try next:", *(f"  {command:{longest}}   # {what}" for what, command in NEXT)]
    rows = _rows(run, found)
    stream.write("\n")
    tables.show(("features", "mAP", ""), rows, lambda row: row is rows[0], stream, TITLE)
    stream.write("\n".join(lines) + "\n")
    stream.flush()
    return found


def _rows(run: RunFolder, found: ProbeResult) -> list[tuple[str, str, str]]:
    """Name, mAP and a remark for each row of the table."""
    metrics = read_metrics(run.metrics_file)
    steps = f"after {metrics[-1]['step']} steps without a label" if metrics else ""
    ahead = f"{steps}, {found.linear.mAP - found.random_init.mAP:+.1f} over random"
    rows = [
        (display_name(run.config()), found.linear, ahead),
        ("random-init trunk", found.random_init, "the same trunk before its first step"),
        ("chance", found.chance, "the mean share of positives"),
    ]
    return [(name, f"{score.mAP:5.1f}", f" {remark}") for name, score, remark in rows]
