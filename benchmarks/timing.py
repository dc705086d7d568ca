"""What the benchmarks share: ways taken in turns, medians, the hardware's limits, a table and a line of JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

Way = Callable[[], object]


def device(asked: str = "auto") -> torch.device:
    if asked != "auto":
        return torch.device(asked)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    ways: Mapping[str, Way], device: torch.device, rounds: int, repeats: int = 1, cpu: bool = False
) -> dict[str, float]:
    """Median seconds a call of each way. One round takes every way `repeats` times, and the next in reverse order, so
    that a noisy neighbour hits all alike; one call of each before that is not counted.

    Args:
        cpu: this process's CPU time instead of the clock's.
    """
    clock = time.process_time if cpu else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            wait(device)
            begun = clock()
            for _ in range(repeats):
                ways[name]()
            wait(device)
            seconds[name].append((clock() - begun) / repeats)
    return {name: statistics.median(times) for name, times in seconds.items()}


def matmul_peak(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 0) -> float:
    """FLOP/s of a large square product: what no arithmetic here can beat."""
    size = size or (8192 if device.type == "cuda" else 1536)
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / interleaved({"matmul": lambda: a @ a}, device, rounds=5)["matmul"]


def bandwidth(device: torch.device) -> float:
    """Bytes/s of a copy of a large tensor, read and written."""
    source = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    return 8 * source.numel() / interleaved({"copy": lambda: target.copy_(source)}, device, rounds=5)["copy"]


def launches(way: Way, device: torch.device) -> int:
    """Kernels that one call launches; on a processor, leaf operations that compute (views do not)."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    way()
    with profile(activities=activities) as seen:
        way()
        wait(device)
    if device.type == "cuda":
        return sum(1 for event in seen.events() if event.name in ("cudaLaunchKernel", "cuLaunchKernel"))
    return sum(1 for event in seen.events() if _computes(event))


_FREE = frozenset(
    "aten::" + name
    for name in [
        "view",
        "as_strided",
        "reshape",
        "detach",
        "empty",
        "empty_strided",
        "resize_",
        "alias",
        "expand",
        "t",
        "transpose",
        "unsqueeze",
        "select",
        "slice",
        "empty_like",
        "_unsafe_view",
        "unbind",
        "split",
        "permute",
        "result_type",
        "is_same_size",
        "lift_fresh",
        "_reshape_alias",
        "new_empty",
        "squeeze",
        "set_",
        "narrow",
        "flatten",
    ]
)


def _computes(event: Any) -> bool:  # noqa: ANN401 - the profiler's own type
    if not event.name.startswith("aten::") or event.name in _FREE:
        return False
    return not any(child.name.startswith("aten::") and child.name not in _FREE for child in event.cpu_children)


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    result: dict[str, object],
    device: torch.device,
) -> None:
    """A table for people; then one line of JSON, the last of the output."""
    table = Table(box=None, title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in result.items()}
    print(json.dumps({**rounded, "device": device_name(device)}))


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def check_equal(what: str, ours: torch.Tensor, textbook: torch.Tensor, tolerance: float) -> float:
    """The greatest difference. Ends the benchmark if it is above `tolerance`: a fast wrong result is no result."""
    off = float((ours.detach().double() - textbook.detach().double()).abs().max())
    if not off <= tolerance:
        raise SystemExit(f"{what}: ours and the textbook's differ by {off:.3g}, more than {tolerance:g}")
    return off
