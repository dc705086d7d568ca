"""What a call asks of CUDA, by kind: as the null driver counts it, or on a GPU as the profiler sees it."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from golang.sources import ROOT

LAUNCHES = ("kernel", "blas", "dnn", "nccl", "fill", "copy_on_device", "graph")
WAITS = ("stream_wait_of_host", "event_wait_of_host", "device_wait_of_host", "copy_wait_of_host")
PAGEABLE = ("upload_pageable", "download_pageable")
# What the profiler calls them; a library's calls are kernels there.
PROFILED = {
    "kernel": ("LaunchKernel",),
    "nccl": ("c10d::",),
    "fill": ("cudaMemsetAsync",),
    "graph": ("cudaGraphLaunch",),
    "copy_on_device": ("Memcpy DtoD",),
    "upload_pinned": ("Memcpy HtoD (Pinned",),
    "upload_pageable": ("Memcpy HtoD (Pageable",),
    "download_pinned": ("Memcpy DtoH (Device -> Pinned",),
    "download_pageable": ("Memcpy DtoH (Device -> Pageable",),
    "stream_wait_of_host": ("cudaStreamSynchronize",),
    "event_wait_of_host": ("cudaEventSynchronize",),
}


class NullDriver:
    """The counters of this process, which runs on the null driver."""

    def __init__(self) -> None:
        self.driver = ctypes.CDLL(None)
        self.driver.null_kinds.restype = ctypes.c_char_p
        self.driver.null_count.restype = self.driver.null_replayed.restype = ctypes.c_long
        self.kinds = self.driver.null_kinds().decode().split()
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_size_t)
        self._nobody = prototype(0)
        # Kept as long as the process: another thread may be on its way into it when the main thread stops listening.
        self._listener = prototype(lambda kind, size: self._heard(kind, size))
        self._heard: Callable[[int, int], None] = lambda kind, size: None

    def during(self, call: Callable[[], object]) -> dict[str, int]:
        """How often each kind was asked for; what graphs launched themselves is under `<kind>_replayed`."""
        self.driver.null_reset()
        call()
        found = {kind: self.driver.null_count(number) for number, kind in enumerate(self.kinds)}
        return found | {f"{kind}_replayed": self.driver.null_replayed(n) for n, kind in enumerate(self.kinds)}

    @contextlib.contextmanager
    def places(self, thread: threading.Thread | None = None) -> Iterator[collections.Counter[str]]:
        """Counts where in the project the host waits for the device or copies from memory that is not page-locked; of
        one `thread`, or of all."""
        found: collections.Counter[str] = collections.Counter()
        wanted = {self.kinds.index(kind) for kind in (*WAITS, *PAGEABLE)}

        def heard(kind: int, size: int) -> None:
            if kind in wanted and thread in (None, threading.current_thread()):
                frames = [f for f in traceback.extract_stack() if f.filename.startswith(str(ROOT / "golang"))]
                at = f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else "torch itself"
                found[f"{self.kinds[kind]} of {size} bytes at {at}"] += 1

        self._heard = heard
        self.driver.null_listen(self._listener)
        try:
            yield found
        finally:
            self.driver.null_listen(self._nobody)


class Gpu:
    """The same of a real one, by torch's profiler."""

    def during(self, call: Callable[[], object]) -> dict[str, int]:
        from torch.profiler import ProfilerActivity, profile

        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            call()
        names = [event.name for event in seen.events()]
        found: dict[str, int] = collections.defaultdict(int)
        found |= {kind: sum(any(part in name for part in parts) for name in names) for kind, parts in PROFILED.items()}
        return found

    @contextlib.contextmanager
    def places(self, thread: threading.Thread | None = None) -> Iterator[collections.Counter[str]]:
        """torch names the first place where the host waits, by an error."""
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield collections.Counter()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def counter() -> Any:
    """A NullDriver where this process runs on one, else a Gpu."""
    return NullDriver() if hasattr(ctypes.CDLL(None), "null_kinds") else Gpu()


def launches(counts: dict[str, int]) -> int:
    """Work that the host hands to the device one by one."""
    return sum(counts.get(kind, 0) for kind in LAUNCHES)


def waits(counts: dict[str, int]) -> int:
    return sum(counts.get(kind, 0) for kind in WAITS)
