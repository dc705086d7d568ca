"""`python -m tests.golden DIR`: checks every array file in DIR and prints a line for each.

Exits 1 on a difference beyond its tolerance, on a file of an unknown kind, and on a folder without any.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.golden.arrays import (
    check_head,
    check_larc,
    check_lr,
    check_map,
    check_queue,
    check_sinkhorn,
    check_state_dict,
)
from tests.golden.compare import Comparison
from tests.golden.models import Arrays
from tests.golden.runs import check_full, check_sinkhorn_two_ranks, check_two_ranks

# What a file holds is known by an array that only its kind has.
KINDS: dict[str, Callable[[Arrays, Comparison], None]] = {
    "in/u8_big": check_full,
    "in/x_map_rank0": check_two_ranks,
    "in_rank0": check_sinkhorn_two_ranks,
    "out/queue_before_step": check_queue,
    "w_before/prototypes.weight": check_head,
    "cfg/freeze_steps": check_larc,
    "case0/params": check_lr,
    "in/pred": check_map,
}


def check_file(path: Path) -> Comparison:
    """Compares one golden file with what the project computes. Raises ValueError for an unknown kind."""
    result = Comparison()
    if path.suffix == ".json":
        layout = json.loads(path.read_text())
        if not isinstance(layout, dict) or not any(key.endswith("prototypes.weight") for key in layout):
            raise ValueError("not the layout of a state dict")
        check_state_dict(path.stem, layout, result)
        return result
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for marker, check in KINDS.items():
        if marker in arrays:
            check(arrays, result)
            return result
    if any(name.endswith("_in") for name in arrays):
        check_sinkhorn(arrays, result)
        return result
    raise ValueError(f"no known kind; its arrays begin with {', '.join(list(arrays)[:3])}")


def main(folder: Path) -> int:
    """Checks a folder; the exit status."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".npz", ".json")) if folder.is_dir() else []
    if not files:
        print(f"{folder}: no .npz or .json file to check")
        return 1
    failed = 0
    for path in files:
        try:
            result = check_file(path)
        except (ValueError, KeyError, OSError) as error:
            failed += 1
            print(f"FAIL {path.name}: {error}")
            continue
        failed += not result.ok
        print(
            f"{'ok  ' if result.ok else 'FAIL'} {path.name}: {result.arrays} comparisons, worst {result.worst:.2g} "
            f"of {result.tolerance:.2g} ({result.array})"
        )
        for miss in result.misses[:10]:
            print(f"     {miss}")
    print(f"{len(files) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.golden DIR")
    sys.exit(main(Path(sys.argv[1])))
