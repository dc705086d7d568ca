"""How long a GPU needs at least for what is dispatched to it: a model, not a measurement.

An operation takes the longest of: its FLOPs at what tuned kernels reach of the peak, its bytes (operands read and
results written once) at 80 % of the memory's bandwidth, and 2.5 µs. Peaks and bandwidths are the vendor's data sheets';
the shares of the peak are assumptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.timing import Operations

SHORTEST = 2.5e-6  # seconds an operation
BANDWIDTH_SHARE = 0.8


@dataclass(frozen=True)
class Gpu:
    half: float  # dense FLOP/s of fp16 and bf16
    full: float  # of fp32 without TF32
    bandwidth: float  # bytes/s
    share: float  # of the peak, that convolutions and products reach


GPUS = {
    "H100": Gpu(989e12, 67e12, 3.35e12, 0.35),
    "A100-40": Gpu(312e12, 19.5e12, 1.555e12, 0.45),
    "RTX 4090": Gpu(165e12, 82e12, 1.008e12, 0.60),
}
_FREE = {*Operations.FREE, "new_empty_strided"}
# A fused norm in training mode reads its input twice: for the statistics and for the result.
_TWICE = {"cudnn_batch_norm", "cudnn_batch_norm_backward", "native_batch_norm", "native_batch_norm_backward"}


class Roofline(TorchDispatchMode):
    """While entered, adds up the `seconds` of all that runs on CUDA, by GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = dict.fromkeys(GPUS, 0.0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        given = kwargs or {}
        out = func(*args, **given)
        packet = func.overloadpacket
        name = packet.__name__
        tensors = [t for t in tree_leaves((args, given, out)) if isinstance(t, Tensor) and t.is_cuda]
        if func.is_view or name in _FREE or not tensors:
            return out
        size = sum(t.numel() * t.element_size() for t in tensors)
        if name in _TWICE and not _evaluates(name, args):
            size += sum(t.numel() * t.element_size() for t in tensors if t.dim() > 1)
        flops = flop_registry[packet](*args, **given, out_val=out) if packet in flop_registry else 0
        half = any(t.dtype in (torch.float16, torch.bfloat16) for t in tensors)
        for gpu, has in GPUS.items():
            rate = has.share * (has.half if half else has.full)
            self.seconds[gpu] += max(size / (BANDWIDTH_SHARE * has.bandwidth), flops / rate, SHORTEST)
        return out


def _evaluates(name: str, args: Sequence[Any]) -> bool:
    """Whether a norm takes its statistics from elsewhere."""
    place = {"cudnn_batch_norm": 5, "native_batch_norm": 5, "native_batch_norm_backward": 7}.get(name)
    return place is not None and not args[place]
