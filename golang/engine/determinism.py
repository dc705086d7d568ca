"""What torch is told before a rank computes: threads, deterministic algorithms, the precision of fp32, the seed."""

from __future__ import annotations

import ctypes
import os
from platform import python_version

import numpy as np
import torch

from golang.config import Config
from golang.world import World

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def set_up(config: Config, device: torch.device, world: World) -> None:
    """OMP_NUM_THREADS, where set, has the last word on threads."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not config.deterministic
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Two of a rank's communicators at once end in a deadlock unless every GPU starts their kernels in one order.
        os.environ.setdefault("NCCL_LAUNCH_ORDER_IMPLICIT", "1")
    else:
        keep_freed_memory()
        if "OMP_NUM_THREADS" not in os.environ:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            torch.set_num_threads(max(1, cores // world.local_size - config.data.workers))
    torch.use_deterministic_algorithms(config.deterministic)
    # Nothing here reads what it has not written, and filling every new tensor is most of a step's launches.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Cosines and targets are of fp32. NVIDIA's containers have torch compute its products in TF32, a half's precision.
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(config.seed)


def keep_freed_memory() -> None:
    """Has glibc, where there is one, keep what a step frees for the next. By default every large tensor is mapped anew,
    and the kernel zeroes its pages at first touch: an eighth of a small trunk's step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def versions(device: torch.device) -> dict[str, str]:
    """What bit-identical continuation depends on besides the settings."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {"python": python_version(), "torch": str(torch.__version__), "numpy": np.__version__, "device": name}
