"""What tracking costs a step when W&B can't be reached: `python -m benchmarks.tracking`.

Runs of the demo's network with tracking=wandb and an unreachable server alternate with runs of tracking=none; the
medians of their steps are compared. Prints a table, and one line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
WAYS = {"none": "tracking=none", "unreachable": "tracking=wandb, an unreachable server"}
# A key, so that it tries, and an address where connections are refused at once, the most often retried.
NOWHERE = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
WARM = 10  # steps of each run that don't count


def train(way: str, folder: Path, arguments: argparse.Namespace) -> tuple[list[float], float]:
    """The seconds of each step of one run, and those of the whole command."""
    run = folder / f"{way}-{time.monotonic_ns()}"
    command = [
        sys.executable, str(ROOT / "run.py"), f"data.root={folder}/data", f"run_dir={run}",
        f"device={arguments.device}",
        f"tracking={'none' if way == 'none' else 'wandb'}", f"data.toy.train={64 * arguments.steps}", "data.toy.val=1",
        "optim.epochs=1", "optim.warmup_epochs=0", "optim.batch_size=64", "data.workers=0", "log_every_steps=1",
        "evaluation.probe=false", "checkpoint.every_minutes=60", "cluster.tasks_per_node=1",
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")} | NOWHERE
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if done.returncode:
        raise SystemExit(f"a run failed ({done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}")
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["step_seconds"] - line["data_wait_seconds"] for line in lines[WARM:]], seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (3)")
    parser.add_argument("--steps", type=int, default=60, help="steps of a run (60)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    arguments = parser.parse_args()
    steps: dict[str, list[float]] = {way: [] for way in WAYS}
    whole: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="tracking-") as name:
        for number in range(arguments.rounds):
            for way in list(WAYS)[:: 1 if number % 2 else -1]:
                taken, seconds = train(way, Path(name), arguments)
                steps[way] += taken
                whole[way].append(seconds)
    median = {way: statistics.median(steps[way]) for way in WAYS}
    ratio = median["unreachable"] / median["none"]
    table = Table(box=None, title="a step, W&B unreachable beside no tracking", title_justify="left")
    for column in ("way", "median step, ms", "ratio", "steps", "whole run, s (median)"):
        table.add_column(column)
    for way, shown in WAYS.items():
        share = median[way] / median["none"]
        took = statistics.median(whole[way])
        table.add_row(shown, f"{1000 * median[way]:.2f}", f"{share:.3f}", str(len(steps[way])), f"{took:.2f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(json.dumps({
        "bench": "tracking", "ratio": round(ratio, 4), "device": arguments.device, "rounds": arguments.rounds,
        "median_step_ms": {way: round(1000 * value, 3) for way, value in median.items()},
        "whole_run_seconds": {way: round(statistics.median(values), 2) for way, values in whole.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
