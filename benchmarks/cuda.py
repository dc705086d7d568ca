"""What a training step asks of a GPU, on one rank and over ranks, counted without one: `python -m benchmarks.cuda`.

The step runs through torch's CUDA code on the tests' null driver (see tests/cuda), whose kernels compute nothing: its
launches, collectives, waits and bytes are the real ones. The host's time is what a processor takes to issue a step,
launches themselves free; the roofline is what an H100 needs at least (benchmarks/roofline.py). An earlier commit's step
is counted beside today's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from benchmarks import timing
from golang.sources import ROOT
from tests.cuda.null import build
from tests.cuda.trace import Case, has_gpu, traced

BEFORE = "5c68761"  # the last commit whose batch norm over ranks was composed of many operations
COLUMNS = ("step", "launches", "× one rank", "collectives", "waits", "GiB", "host ms", "H100 ms")


def cases(quick: bool) -> list[Case]:
    methods = ("golang",) if quick else ("golang", "swav")
    found = [Case(method, "fp16", ranks) for method in methods for ranks in (1, 2, 8, 64)]  # type: ignore[arg-type]
    found += [] if quick else [Case("golang", "bf16", ranks) for ranks in (1, 8)]
    found += [Case(ranks=8, images=16), Case(ranks=8, images=16, more={"cuda_graphs": True})]
    return [replace(case, timed=True) for case in found]


def earlier(commit: str, folder: Path) -> Path | None:
    """The package golang of an earlier commit, in `folder`; None where git does not have it."""
    made = subprocess.run(["git", "-C", ROOT, "archive", commit, "golang"], capture_output=True, check=False)
    if made.returncode != 0:
        return None
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def rows(listed: list[Case], code: Path | None, said: str) -> tuple[list[list[object]], dict[str, dict[str, Any]]]:
    """A row a case, and the figures by the case's name."""
    drawn: list[list[object]] = []
    figures: dict[str, dict[str, Any]] = {}
    one: dict[str, float] = {}
    for case, found in zip(listed, traced(listed, code), strict=True):
        key = f"{case.method} {case.precision}"
        if case.ranks == 1:
            one[key] = found["launches"]
        ratio = found["launches"] / one[key]
        collectives = found["counts"]["nccl"]
        seen = figures.get(replace(case, more={}).name, found)  # what is inside a graph is not dispatched
        peak, roofline = found["peak"] / 2**30, seen["roofline_ms"]["H100"]
        name = f"{case.name}{said}"
        drawn.append([name, found["launches"], ratio, collectives, found["waits"], peak, found["host_ms"], roofline])
        figures[case.name] = {**found, "ratio": ratio}
        print(f"\r{len(drawn)} of {len(listed)} steps{said}", end="", file=sys.stderr, flush=True)
    print("\r\033[K", end="", file=sys.stderr)
    return drawn, figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument(
        "--before", default=BEFORE, metavar="COMMIT", help=f"also that commit's step ({BEFORE}); '' for none"
    )
    parser.add_argument("--quick", action="store_true", help="GOLANG in fp16 alone")
    options = parser.parse_args()
    if not has_gpu() and (why := build.missing()):
        raise SystemExit(f"benchmarks.cuda {why}")
    listed = cases(options.quick)
    drawn, found = rows(listed, None, "")
    with tempfile.TemporaryDirectory() as folder:
        if options.before and (code := earlier(options.before, Path(folder))):
            known = [case for case in listed if not case.more]  # settings that it has too
            past, _ = rows(known, code, f", {options.before}")
            beside = dict(zip((case.name for case in known), past, strict=True))
            drawn = [row for now in drawn for row in (beside.get(str(now[0])), now) if row is not None]
        elif options.before:
            print(f"git has no commit {options.before} here: today's step alone", file=sys.stderr)
    one, eight = (found[Case(ranks=ranks).name] for ranks in (1, 8))
    result = {
        "bench": "cuda",
        "launches_1": one["launches"],
        "launches_8": eight["launches"],
        "ratio": eight["ratio"],
        "waits": max(figures["waits"] for figures in found.values()),
        "host_ms_8": eight["host_ms"],
        "peak_gib_8": eight["peak"] / 2**30,
    }
    timing.show("A training step on CUDA, as the host issues it", COLUMNS, drawn, result, torch.device("cpu"))


if __name__ == "__main__":
    main()
