"""The table of docs/requeue.md: `python -m tests.slurm.comparison [--rows WORD …]`.

Lets every row of `tests.slurm.table` happen on this machine's Slurm, then on each newer one (`tests.slurm.versions`),
some fourteen minutes each, and prints them as Markdown: how a row ended has a column for each Slurm, the rest is of the
first. Exits with 1 if a row failed anywhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from .processes import ClusterError
from .versions import SUITES, entered, root_folder

_HEADS = {"what happens": "row", "cause.json": "named", "attempts": "attempts", "steps repeated": "repeated"}


def markdown(measured: Sequence[dict[str, Any]]) -> Iterable[str]:
    """The lines of the table, from what `tests.slurm.table` says on each Slurm."""
    heads = [*_HEADS, "seconds lost", *(f"end on {one['slurm']}" for one in measured)]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for facts, *others in zip(*(one["results"] for one in measured), strict=True):
        lost = facts.get("lost")
        ends = [str(found["wrong"]).partition("\n")[0] or "bit-identical" for found in (facts, *others)]
        cells = [*(str(facts.get(key, "")) for key in _HEADS.values()), "" if lost is None else f"{lost:.1f}", *ends]
        yield f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure everywhere and print; 0 if every row ended as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.comparison", description=__doc__)
    parser.add_argument("--rows", nargs="*", default=[], help="only those whose name holds one of these words")
    arguments = parser.parse_args(argv)
    command = [sys.executable, "-m", "tests.slurm.table", *(["--rows", *arguments.rows] if arguments.rows else [])]
    measured = []
    try:
        for place in (command, *(entered(root_folder(suite), command) for suite in SUITES)):
            done = subprocess.run(place, stdout=subprocess.PIPE, text=True, check=False)
            print(done.stdout, flush=True)
            if not done.stdout:
                raise ClusterError(f"tests.slurm.table ended with {done.returncode} and measured nothing; see above")
            measured.append(json.loads(done.stdout.splitlines()[-1]))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*markdown(measured), sep="\n")
    return int(any(one["failed"] for one in measured))


if __name__ == "__main__":
    sys.exit(main())
