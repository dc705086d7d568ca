"""The steps that the tests count, and what they may ask of CUDA: `python -m tests.cuda.table` prints both, `--write`
makes what is counted now the table (table.json)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.cuda.counts import launches
from tests.cuda.trace import Case, traced

FILE = Path(__file__).with_name("table.json")
CASES = [
    *(Case(m, p, r) for m in ("golang", "swav") for p in ("fp16", "bf16", "fp32") for r in (1, 8)),  # type: ignore[arg-type]
    *(Case(m, "fp16", ranks) for m in ("golang", "swav") for ranks in (2, 64)),  # type: ignore[arg-type]
    Case(ranks=8, images=16),
    Case(frozen=True),
    Case(queue=False),
    Case(deterministic=True),
    Case(ranks=8, deterministic=True),
    Case(pipeline="device"),
    Case(pipeline="device", deterministic=True),
    Case(ranks=8, pipeline="device", deterministic=True),
    Case(more={"method.local_permutation": "image", "cross_view.detach": False}),
    Case(more={"optim.adapt_bias_and_norm": False, "queue.local_length": 64 * 32 * 2}),
    Case(more={"optim.accumulate": 2}),
    Case(ranks=8, more={"optim.accumulate": 2}),
    Case(more={"cuda_graphs": True}),
    Case(ranks=8, images=16, more={"cuda_graphs": True}),
]


def figures(found: dict[str, Any]) -> dict[str, float]:
    """What the table holds of a step."""
    return {
        "launches": found["launches"],
        "collectives": found["counts"]["nccl"],
        "peak_gib": round(found["peak"] / 2**30, 3),
        "update": launches(found["update"]),
        "transfer": launches(found["transfer"]),
    }


def main() -> None:
    table = {}
    for case, found in zip(CASES, traced(CASES), strict=True):
        table[case.name] = figures(found)
        print(f"{case.name:<60}", *(f"{key} {value:g}" for key, value in table[case.name].items()), flush=True)
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(json.dumps(table, indent=1) + "\n")
        print(f"written: {FILE}")


if __name__ == "__main__":
    main()
