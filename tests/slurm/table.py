"""Every cause that stops a run, on a real cluster: `python -m tests.slurm.table [--rows WORD …]`.

Each row's run, of 2 nodes × 2 tasks, must end bit for bit as one that nobody stopped: weights, momentum, queues,
metrics; and the attempts' cause.json must name it. Prints a table (what happens, cause.json, attempts, steps repeated,
seconds lost) and one line of JSON last; exits with 1 if a row fails.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from golang.config import Config
from golang.data.toy.write import write
from tests.resume.harness import judge, launch, settings

from . import cluster as real
from .release import quick, release
from .rows import ROWS, Row
from .runs import NODES, TASKS, Typist, flat
from .scenarios import EVERY

NOW = "PartitionName=now Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode={mode} GraceTime=0"
CLUSTERS = {
    "plain": quick(NOW.format(mode="REQUEUE")),
    "signalling": {"extra": (NOW.format(mode="REQUEUE"),), "preempt_send_user_signal": True},
    "cancelling": {"preempt_mode": "CANCEL"},
    "suspending": {"preempt_mode": "SUSPEND"},
}


def measure(row: Row, typist: Typist, undisturbed: Path) -> dict[str, object]:
    """One row of the table."""
    begun, sweep = time.monotonic(), re.sub("[^a-z]+", "_", row.name.lower())
    try:
        run, lost = row.scenario(typist, sweep)
        wrong = judge(run.path, undisturbed)
        named = ", ".join(dict.fromkeys(run.causes()))
        if named not in row.names():
            wrong = wrong or f"cause.json says {named!r}, not {row.named!r}"
        facts = {"named": named, "attempts": len(run.attempts), "repeated": sum(run.repeated()), "lost": lost}
    except Exception as error:  # the other rows go on
        wrong, facts = f"{type(error).__name__}: {str(error)[:3000]}", {}
        traceback.print_exc()
        typist.cluster.run("scancel", f"--name=golang-{sweep}", check=False)  # its nodes are the other rows'
    seconds = time.monotonic() - begun
    print(f"{row.name}: {wrong or 'bit-identical'} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    return {"row": row.name, "wrong": wrong, "seconds": round(seconds, 1), **facts}


def run_rows(rows: Sequence[Row], folder: Path, at_once: int) -> list[dict[str, object]]:
    """All rows, those of one cluster side by side."""
    config: Config = settings(folder / "toy", log_every_steps=1, data={"workers": 0}, checkpoint={"every_steps": EVERY})
    write(folder / "toy", config.data.toy, workers=1)
    undisturbed = folder / "undisturbed"
    if launch(config, undisturbed, ranks=NODES * TASKS, timeout=300) != [0] * NODES * TASKS:
        raise SystemExit("the run that nobody stops did not finish")
    found: list[dict[str, object]] = []
    for name, options in CLUSTERS.items():
        own = [row for row in rows if row.cluster == name]
        if not own:
            continue
        with ExitStack() as stack:
            place = Path(tempfile.mkdtemp(prefix="slurm-"))
            nodes = NODES * at_once if name == "plain" else NODES
            cluster = stack.enter_context(
                real.Cluster(real.Config(place, **{"nodes": nodes, "cpus": TASKS, "gpus": 0, **options}))  # type: ignore[arg-type]
            )
            typist = Typist(cluster, folder, flat(config.to_dict()))
            pool = stack.enter_context(ThreadPoolExecutor(at_once if name == "plain" else 1))
            alone = [row for row in own if row.alone]
            found += pool.map(lambda row, t=typist: measure(row, t, undisturbed), [r for r in own if not r.alone])
            found += [measure(row, typist, undisturbed) for row in alone]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.table", description=__doc__)
    parser.add_argument("--rows", nargs="*", default=[], help="only those whose name holds one of these words")
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side (2)")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if not arguments.rows or any(word in row.name for word in arguments.rows)]
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="table-"))
    found = run_rows(rows, folder, arguments.at_once)
    table = Table(box=None)
    for column in ("what happens", "cause.json", "attempts", "steps repeated", "seconds lost", "end"):
        table.add_column(column, justify="left" if column in ("what happens", "cause.json", "end") else "right")
    for facts in found:
        lost = facts.get("lost")
        table.add_row(
            *(str(facts.get(key, "")) for key in ("row", "named", "attempts", "repeated")),
            "" if lost is None else f"{lost:.1f}", str(facts["wrong"]).partition("\n")[0] or "bit-identical",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    failed = [facts["row"] for facts in found if facts["wrong"]]
    if failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(json.dumps({"table": "requeue", "slurm": release(), "rows": len(found), "failed": failed, "minutes":
                      round((time.monotonic() - begun) / 60, 1), "results": found}))  # fmt: skip
    return 1 if failed or len(found) != len(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
