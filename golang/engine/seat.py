"""A process's seat among its ranks: device, process groups and an ear for stop signals, from its first word to its
last."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from golang.config import Config
from golang.engine.distributed import ControlGroup, World, join, leave, pick_device, read_world
from golang.engine.preemption import StopListener

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


@dataclass(frozen=True)
class Seat:
    """Who this rank is, what it computes on, and how it hears of others."""

    world: World
    device: torch.device
    control: ControlGroup
    listener: StopListener


@contextlib.contextmanager
def take(config: Config) -> Iterator[Seat]:
    """Joins the other ranks until left: alone, under torchrun or under Slurm. Raises ConfigError."""
    world = read_world() or World()
    device = pick_device(config.device, world.local_rank, world.local_size)
    _set_up_torch(config, device, world)
    with StopListener() as listener:
        join(world, device)
        try:
            yield Seat(world, device, ControlGroup(world), listener)
        except BaseException:
            leave(failed=True)
            raise
        leave()


def leave_together(control: ControlGroup, duties: Callable[[], None]) -> None:
    """All ranks wait for rank 0's last `duties`, so that none that leaves early cuts it short; rank 0 goes last."""
    world = control.world
    try:
        if world.rank == 0:
            duties()
    finally:
        with contextlib.suppress(RuntimeError):  # a peer that died has nothing left to wait for
            control.barrier()
    if world.rank == 0 and world.size > 1:
        time.sleep(0.3)


def _set_up_torch(config: Config, device: torch.device, world: World) -> None:
    """Threads, determinism and the precision of fp32. OMP_NUM_THREADS, where set, has the last word on threads."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not config.deterministic
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        keep_freed_memory()
        if "OMP_NUM_THREADS" not in os.environ:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            torch.set_num_threads(max(1, cores // world.local_size - config.data.workers))
    torch.use_deterministic_algorithms(config.deterministic)
    # Cosines and targets are of fp32. NVIDIA's containers have torch compute its products in TF32, a half's precision.
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(config.seed)


def keep_freed_memory() -> None:
    """Has glibc keep what a step frees for the next one, which asks for the same again.

    By default every large tensor is mapped anew, and the kernel zeroes its pages at first touch: an eighth of a small
    trunk's step. Elsewhere than on glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
