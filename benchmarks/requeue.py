"""How long a run takes to train again after a requeue signal, beside a job of the same size that only imports torch:
`python -m benchmarks.requeue`.

Both are jobs of 2 nodes × 2 tasks on the tests' own cluster on loopback. Each is sent USR2 and goes back into the queue
by itself; the clock runs from the signal to the last rank's `import torch`, or to the first step of the second attempt.
Taken in turns; medians. Prints a table, and one line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from golang.data.toy.write import write
from golang.runfolder.metrics import read_metrics
from tests.resume.harness import settings
from tests.slurm.cluster import Cluster, Config
from tests.slurm.runs import NODES, TASKS, Typist, flat

RANKS = NODES * TASKS
IMPORTING = """
import os, pathlib, signal, sys, time
restart = os.environ.get("SLURM_RESTART_COUNT", "0")
if restart == "0":
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75))
import torch
pathlib.Path(sys.argv[1], f"{restart}.{os.environ['SLURM_PROCID']}").touch()
while restart == "0":
    time.sleep(0.01)
"""
BATCH = """#!/bin/bash
trap : USR2
srun --kill-on-bad-exit=1 {python} {program} {folder}
[ -n "$SLURM_RESTART_COUNT" ] || scontrol requeue "$SLURM_JOB_ID"
"""


def importing(cluster: Cluster, folder: Path) -> float:
    """Seconds from the signal until every rank of the restarted job has imported torch."""
    program, script = folder / "importing.py", folder / "importing.sbatch"
    program.write_text(IMPORTING)
    words = {"python": sys.executable, "program": str(program), "folder": str(folder)}
    script.write_text(BATCH.format(**{name: shlex.quote(word) for name, word in words.items()}))
    size = (f"--nodes={NODES}", f"--ntasks-per-node={TASKS}", "--requeue", "--output=/dev/null")
    job = cluster.run("sbatch", "--parsable", *size, script).stdout.strip()
    _until(lambda: len(list(folder.glob("0.*"))) == RANKS, "started")
    seconds = _signalled(cluster, job, lambda: len(list(folder.glob("1.*"))) == RANKS)
    cluster.wait_job(job, "COMPLETED")
    return seconds


def training(cluster: Cluster, folder: Path) -> float:
    """Seconds from the signal until the run's second attempt has made its first step."""
    config = settings(
        folder / "toy", log_every_steps=1, data={"workers": 0}, optim={"epochs": 20000, "freeze_iterations": 5}
    )
    write(folder / "toy", config.data.toy, workers=1)
    (run,) = Typist(cluster, folder, flat(config.to_dict())).submit(sweep="requeue")
    run.wait_step(20)
    file = run.path / "metrics.jsonl"

    def again() -> bool:
        lines = read_metrics(file)
        return bool(lines) and lines[-1]["attempt"] == 1

    seconds = _signalled(cluster, run.job, again)
    cluster.run("scancel", run.job)
    run.wait(lambda run: not run.ranks(), 60, "gone")
    cluster.wait_job(run.job, "CANCELLED", 60)
    return seconds


def _signalled(cluster: Cluster, job: str, again: Callable[[], bool]) -> float:
    begun = time.perf_counter()
    cluster.run("scancel", "--signal=USR2", job)
    _until(again, "back")
    return time.perf_counter() - begun


def _until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"the job was not {what} within {seconds:g} s")
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.requeue", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="pairs of jobs (3)")
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {"importing": [], "training": []}
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    with (
        tempfile.TemporaryDirectory(prefix="requeue-") as name,
        Cluster(Config(folder, nodes=NODES, cpus=TASKS, gpus=0)) as cluster,
    ):
        for repeat in range(arguments.repeats):
            for way in (importing, training):
                own = Path(name) / f"{way.__name__}{repeat}"
                own.mkdir()
                found[way.__name__].append(way(cluster, own))
    medians = {way: statistics.median(seconds) for way, seconds in found.items()}
    extra = medians["training"] - medians["importing"]
    table = Table(box=None, title=f"requeue signal → back at work, {NODES} nodes × {TASKS} tasks", title_justify="left")
    for column in ("job", "median s", "all"):
        table.add_column(column)
    for way, what in (("importing", "imports torch"), ("training", "first resumed step")):
        table.add_row(what, f"{medians[way]:.2f}", ", ".join(f"{seconds:.2f}" for seconds in found[way]))
    table.add_row("difference", f"{extra:.2f}", "")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(json.dumps({"bench": "requeue", "repeats": arguments.repeats, "extra_seconds": round(extra, 2),
                      **{f"{way}_seconds": round(median, 2) for way, median in medians.items()},
                      "ratio": round(medians["training"] / medians["importing"], 2)}))  # fmt: skip


if __name__ == "__main__":
    main()
