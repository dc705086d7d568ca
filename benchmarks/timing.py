"""What the benchmarks share: ways taken in turns, medians, the hardware's limits, a table and a line of JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

Way = Callable[[], object]


def device(asked: str = "auto") -> torch.device:
    if asked != "auto":
        return torch.device(asked)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cores(most: int | None = None) -> int:
    """The cores this process and its children may use; from here on no more than `most` of them."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    chosen = sorted(os.sched_getaffinity(0))[:most]
    os.sched_setaffinity(0, chosen)
    return len(chosen)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each turn gives. A round takes every one, and the next round in reverse order, so that a noisy
    neighbour hits all alike."""
    given: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in list(turns)[:: -1 if number % 2 else 1]:
            given[name].append(turns[name]())
    return {name: statistics.median(values) for name, values in given.items()}


def interleaved(
    ways: Mapping[str, Way], device: torch.device, rounds: int, repeats: int = 1, cpu: bool = False
) -> dict[str, float]:
    """Median seconds a call of each way, in turns of `repeats` calls; one call of each before that is not counted.

    Args:
        cpu: this process's CPU time instead of the clock's.
    """
    for way in ways.values():
        way()
    return in_turns({name: partial(seconds, way, device, repeats, cpu) for name, way in ways.items()}, rounds)


def seconds(way: Way, device: torch.device, calls: int, cpu: bool = False) -> float:
    """Seconds a call, work on the device included."""
    clock = time.process_time if cpu else time.perf_counter
    wait(device)
    begun = clock()
    for _ in range(calls):
        way()
    wait(device)
    return (clock() - begun) / calls


def matmul_peak(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 0) -> float:
    """FLOP/s of a large square product."""
    size = size or (8192 if device.type == "cuda" else 1536)
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / interleaved({"matmul": lambda: a @ a}, device, rounds=5)["matmul"]


def convolution_peak(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of a large 3×3 convolution, channels last; on some processors far above that of a product, whose library
    keeps to narrower vectors there."""
    images, channels, size = 256 if device.type == "cuda" else 64, 256, 14
    x = torch.randn(images, channels, size, size, device=device, dtype=dtype)
    weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
    x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    with torch.no_grad():
        ways: dict[str, Way] = {"convolution": lambda: F.conv2d(x, weight, padding=1)}
        return 2 * 9 * images * channels**2 * size**2 / interleaved(ways, device, rounds=5)["convolution"]


def peak(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s that no arithmetic here can beat: a product's or a convolution's, whichever is more."""
    return max(matmul_peak(device, dtype), convolution_peak(device, dtype))


def bandwidth(device: torch.device) -> float:
    """Bytes/s of a copy of a large tensor, read and written."""
    source = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    return 8 * source.numel() / interleaved({"copy": lambda: target.copy_(source)}, device, rounds=5)["copy"]


@dataclass
class Work:
    """What one call asks of the device."""

    launches: int  # kernels; on a processor, operations that compute something (views and allocations do not)
    syncs: int  # times the host waits for the device; on a processor, values read back from tensors
    idle: float | None = None  # of a GPU: the share of the time from the first kernel to the last without one
    memory: float | None = None  # of a GPU: GiB at the peak


def work(way: Way, device: torch.device, calls: int = 1) -> Work:
    """Counts a call's work; `calls` of them are averaged, after one that is not counted."""
    way()
    if device.type != "cuda":
        with Operations() as counter:
            for _ in range(calls):
                way()
        return Work(counter.names.total() // calls, counter.names["_local_scalar_dense"] // calls)
    wait(device)
    torch.cuda.reset_peak_memory_stats(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(calls):
            way()
    names = [event.name for event in seen.events()]
    launches, syncs = (sum(any(part in name for part in parts) for name in names)
                       for parts in (("LaunchKernel",), ("cudaStreamSynchronize", "cudaEventSynchronize")))  # fmt: skip
    memory = torch.cuda.max_memory_allocated(device) / 2**30
    return Work(launches // calls, syncs // calls, _idle(seen.events()), memory)


def _idle(events: Iterable[Any]) -> float | None:
    """The share of time that no kernel ran in, between the first and the last; None if the profiler saw none. Copies
    from the host are no work of the GPU's: one that waits for them idles."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation and "HtoD" not in event.name
    )
    if not spans:
        return None
    busy, reached = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - busy / (reached - spans[0][0])


class Operations(TorchDispatchMode):
    """Counts operations as they reach the backend, by name; views and allocations are free."""

    FREE = ("empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "detach", "lift_fresh")

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None  # noqa: ANN401
    ) -> Any:  # noqa: ANN401 - torch's own loose types  # fmt: skip
        name = func.overloadpacket.__name__
        if not func.is_view and name not in self.FREE:
            self.names[name] += 1
        return func(*args, **(kwargs or {}))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    drawn = Table(box=None, title=title, title_justify="left")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in rows:
        drawn.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 140).print(drawn)


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    result: Mapping[str, object],
    device: torch.device,
) -> None:
    """A table for people; then one line of JSON, the last of the output."""
    table(title, columns, rows)
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
