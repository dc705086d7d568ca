"""One training step on crops that lie on the device, its queue in use: `python -m benchmarks.step`.

The textbook's step and the trainer's from equal weights, taken in turns; in fp64 on a small network both must agree
over three steps first. The limit is the floating-point operations of the step at the rate
of a large matrix product or convolution, whichever is more. Launches and host syncs are a step's, by the profiler (on a
processor: operations that compute, and values read back).
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import timing
from benchmarks.networks import PRECISIONS, Ways, compare, settings
from golang.engine.determinism import keep_freed_memory
from golang.training.step import AUTOCAST


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--trunk", default="resnet50", help="(resnet50)")
    parser.add_argument("--images", type=int, help="images a process (8, or 64 on a GPU)")
    parser.add_argument("--precision", choices=PRECISIONS, help="(fp32, or bf16 on a GPU)")
    parser.add_argument("--rounds", type=int, help="turns of every way (5, or 20 on a GPU)")
    options = parser.parse_args()
    device = timing.device()
    gpu = device.type == "cuda"
    if gpu:  # as the trainer does
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()
    off = compare(device)
    precision = options.precision or ("bf16" if gpu else "fp32")
    ways = Ways(settings(options.trunk, options.images or (64 if gpu else 8), precision), device)
    ways.fill_queues()
    with FlopCounterMode(display=False) as counter:
        ways.ours()
    named: dict[str, timing.Way] = {
        "textbook": ways.theirs,
        "ours": ways.ours,
        "trunk alone": ways.trunk,
        "metrics alone": ways.watching,
    }
    seconds = timing.interleaved(named, device, options.rounds or (20 if gpu else 5))
    work = {name: timing.work(way, device, 3 if gpu else 1) for name, way in named.items()}
    limit = counter.get_total_flops() / timing.peak(device, AUTOCAST[precision] or torch.float32)
    rows = [
        (name, 1e3 * taken, seconds["textbook"] / taken, work[name].launches, work[name].syncs, limit / taken)
        for name, taken in seconds.items()
        if name != "metrics alone"
    ]
    result: dict[str, object] = {
        "bench": "step",
        "ratio": seconds["textbook"] / seconds["ours"],
        "limit_share": limit / seconds["ours"],
        "trunk_share": seconds["trunk alone"] / seconds["ours"],
        "metrics_share": seconds["metrics alone"] / seconds["ours"],
        "launches": work["ours"].launches,
        "launches_textbook": work["textbook"].launches,
        "syncs": work["ours"].syncs,
        "syncs_textbook": work["textbook"].syncs,
        "off": off,
        "precision": precision,
    }
    if gpu:
        result |= {"idle_share": work["ours"].idle, "peak_memory_gib": work["ours"].memory}
    title = f"a step of {options.trunk}, {len(ways.large) // 2} images, {precision}"
    columns = ("way", "ms", "× textbook", "launches", "host syncs", "share of the limit")
    timing.show(title, columns, rows, result, device)


if __name__ == "__main__":
    main()
