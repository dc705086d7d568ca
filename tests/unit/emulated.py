"""torch's synchronised batch-norm kernels, which CUDA alone has, written out for processors: what they compute, and
what they insist on. So what calls them can be compared with one process's batch norm on any machine."""

from __future__ import annotations

import torch
from torch import Tensor

_library = torch.library.Library("aten", "IMPL")


def _channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _own(x: Tensor) -> torch.dtype:
    """The precision of statistics."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _others(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _layout(x: Tensor) -> tuple[bool, bool]:
    return x.is_contiguous(), x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    assert x.numel(), "a kernel of no threads"
    variance, mean = torch.var_mean(x.to(_own(x)), _others(x), correction=0)
    return mean, (variance + eps).rsqrt()


def gather_stats(
    x: Tensor, mean: Tensor, invstd: Tensor, running_mean: Tensor, running_var: Tensor,
    momentum: float, eps: float, counts: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Chan's merge, rank after rank, as the kernel has it: a first rank without rows gives NaN there too."""
    assert counts.dtype == running_mean.dtype and mean.dtype == invstd.dtype == _own(x)
    assert mean.shape == invstd.shape == (len(counts), len(running_mean))
    average, spread, seen = (mean.new_zeros(mean.shape[1]) for _ in range(3))
    for m, deviation, count in zip(mean, invstd, counts.to(mean.dtype), strict=True):
        factor = 1 / (seen + count)
        spread += (1 / deviation**2 - eps) * count + (average - m) ** 2 * seen * count * factor
        average = seen * factor * average + count * factor * m
        seen = seen + count
    running_mean.mul_(1 - momentum).add_(average, alpha=momentum)
    running_var.mul_(1 - momentum).add_(spread / (seen - 1), alpha=momentum)
    return average, (spread / seen + eps).rsqrt()


def elemt(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, invstd: Tensor, eps: float) -> Tensor:
    assert x.numel()
    scaled = (x - _channels(mean, x)) * _channels(invstd * weight, x) + _channels(bias, x)
    return scaled.to(x.dtype)


def backward_reduce(
    dy: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor, *wanted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert x.numel() and _layout(dy) == _layout(x) and any(_layout(x)) and wanted == (True, True, True)
    sums = dy.to(_own(x)).sum(_others(x))
    products = (dy.to(_own(x)) * (x - _channels(mean, x))).sum(_others(x))
    return sums, products, (products * invstd).to(weight.dtype), sums.to(weight.dtype)


def backward_elemt(
    dy: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor, sums: Tensor, products: Tensor, counts: Tensor
) -> Tensor:
    assert _layout(dy) == _layout(x) and counts.dtype == torch.int32
    total = counts.sum()
    away = (x - _channels(mean, x)) * _channels(invstd**2 * products / total, x)
    return ((dy - _channels(sums / total, x) - away) * _channels(invstd * weight, x)).to(x.dtype)


def install() -> None:
    """For the rest of this process."""
    _library.impl("batch_norm_stats", stats, "CPU")
    _library.impl("batch_norm_gather_stats_with_counts", gather_stats, "CPU")
    _library.impl("batch_norm_elemt", elemt, "CPU")
    _library.impl("batch_norm_backward_reduce", backward_reduce, "CPU")
    _library.impl("batch_norm_backward_elemt", backward_elemt, "CPU")
