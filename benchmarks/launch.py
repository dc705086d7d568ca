"""A grid planned, frozen and queued on a real Slurm, beside one `sbatch` a run: `python -m benchmarks.launch`.

The cluster is the tests' own, on loopback, unless SLURM_CONF names one. Jobs are held, so none starts, and cancelled at
the end. The one-by-one way is measured on fewer runs and scaled. Prints a table, and one line of JSON last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """The environment of a cluster to submit to."""
    if "SLURM_CONF" in os.environ:
        yield dict(os.environ)
        return
    from tests.slurm.cluster import Cluster, Config

    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    with Cluster(Config(folder, nodes=1, extra=("MaxJobCount=20000",))) as cluster:
        yield cluster.environment()


def grid(runs: int) -> list[str]:
    """Overrides that make that many cells: seeds × epochs."""
    return [f"seed=range({runs // 10})", "optim.epochs=" + ",".join(str(100 + i) for i in range(10))]


def launch(runs: int, folder: Path, environment: dict[str, str]) -> float:
    """Seconds from the command line to the launcher's return; the process's start counts."""
    command = [
        sys.executable, str(ROOT / "run.py"), "experiment=coco2014", "cluster=slurm", "cluster.extra={hold: true}",
        f"runs_dir={folder}/runs", *grid(runs),
    ]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode or f"{runs} submitted" not in done.stdout:
        raise SystemExit(f"the launcher failed ({done.returncode}): {done.stderr[-2000:] or done.stdout[-2000:]}")
    queued = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i"], env=environment, capture_output=True, text=True, check=True
    )
    if len(queued.stdout.split()) != runs:
        raise SystemExit(f"{len(queued.stdout.split())} jobs are in the queue, not {runs}")
    return seconds


def one_by_one(runs: int, folder: Path, environment: dict[str, str]) -> float:
    """Seconds for one `sbatch` a run of scripts that exist already: nothing planned, nothing frozen."""
    scripts = sorted(folder.glob("runs/*/*/job.sbatch"))[:runs]
    with (folder / "jobs").open("w") as jobs:
        begun = time.perf_counter()
        for script in scripts:
            subprocess.run(["sbatch", "--parsable", script], env=environment, stdout=jobs, check=True)
        return time.perf_counter() - begun


def cancel(folder: Path, environment: dict[str, str]) -> None:
    """Takes what was submitted out of the queue, and nothing else."""
    from launch.sweep import ledger

    lines = [line for sweep in folder.glob("runs/*") for line in ledger.read(sweep)]
    arrays = {line["job"].partition("_")[0] for line in lines if line["event"] == "submitted"}
    jobs = [*arrays, *(folder / "jobs").read_text().split()]
    subprocess.run(["scancel", *sorted(jobs)], env=environment, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launch", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="cells of the grid, a multiple of 10 (1000)")
    parser.add_argument("--single", type=int, default=50, help="runs that are sent one by one (50)")
    arguments = parser.parse_args()
    with slurm() as environment, tempfile.TemporaryDirectory(prefix="launch-") as name:
        folder = Path(name)
        seconds = launch(arguments.runs, folder, environment)
        single = one_by_one(arguments.single, folder, environment)
        cancel(folder, environment)
    scaled = single / arguments.single * arguments.runs
    table = Table(box=None, title=f"{arguments.runs} runs into Slurm's queue", title_justify="left")
    for column in ("way", "seconds", "runs", "remark"):
        table.add_column(column)
    table.add_row("run.py: planned, frozen, one array", f"{seconds:.2f}", str(arguments.runs), "measured")
    table.add_row("one sbatch a run, scripts ready", f"{single:.2f}", str(arguments.single), "measured")
    table.add_row("one sbatch a run, scripts ready", f"{scaled:.2f}", str(arguments.runs), "scaled from the row above")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    result = {"bench": "launch", "runs": arguments.runs, "seconds": round(seconds, 3),
              "one_by_one_seconds_scaled": round(scaled, 3), "one_by_one_measured_runs": arguments.single,
              "ratio": round(scaled / seconds, 2)}  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
