"""Random faults, and what is left of the runs: `python -m tests.chaos --seed S --faults N [--cluster none|slurm]`.

Small runs are stopped, killed, hung and damaged at random moments until N faults are spent, and then left in peace.
Every run must finish, bit for bit like one that nobody disturbed. Prints a table, and one line of JSON last; a failure
prints its seed and keeps the folder. `none` is the trainer alone, two gloo ranks a run; `slurm` the tests' own cluster.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import alone, cluster


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--cluster", choices=("none", "slurm"), default="none")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    world, begun = alone if arguments.cluster == "none" else cluster, time.monotonic()
    faults: Counter[str] = Counter()
    wrong: list[str] = []
    runs = finished = duplicated = in_place = 0
    for tally in world.runs(folder, arguments.seed, arguments.faults):
        faults, runs, duplicated = faults + tally.faults, runs + 1, duplicated + tally.duplicated
        in_place += tally.in_place
        finished += (tally.path / "DONE").exists()
        if tally.wrong:
            wrong.append(f"{tally.path}: {tally.wrong}")
        told = ", ".join(f"{count} × {name}" for name, count in tally.faults.items())
        print(f"{tally.path.name[-40:]}: {told}: {tally.wrong or 'bit-identical'}", file=sys.stderr, flush=True)
    table = Table(box=None, title=f"seed {arguments.seed}, cluster {arguments.cluster}", title_justify="left")
    table.add_column("fault")
    table.add_column("times", justify="right")
    for name, count in faults.most_common():
        table.add_row(name, str(count))
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    for line in wrong:
        print(f"seed {arguments.seed}: {line}")
    result = {
        "seed": arguments.seed, "cluster": arguments.cluster, "faults": sum(faults.values()), "runs": runs,
        "finished": finished, "bit_identical": runs - len(wrong), "duplicated_steps": duplicated,
        "restarted_in_place": in_place, "lost": runs - finished, "minutes": round((time.monotonic() - begun) / 60, 1),
    }  # fmt: skip
    if wrong:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(json.dumps(result))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
