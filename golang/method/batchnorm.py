"""Batch norm synchronised over ranks, on any backend, with batched forms for independent maps and positions.

With one process it is PyTorch's own batch norm; with several, statistics are those of all ranks' rows
(torch's SyncBatchNorm does the same, on CUDA alone).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from golang.collectives import gather_from_ranks, sum_over_ranks, world_size

_shares: tuple[int, ...] | None = None  # images of each rank, where they differ

Pair = tuple[Tensor, Tensor]


@contextlib.contextmanager
def uneven(shares: Sequence[int]) -> Iterator[None]:
    """While entered, rank r feeds shares[r] images, perhaps none, to each norm. Otherwise all feed equally many."""
    global _shares
    _shares = tuple(shares) if len(set(shares)) > 1 else None
    try:
        yield
    finally:
        _shares = None


class _Portable:
    """A rank's part of the work by one process's kernels. Its statistics are means and variances [F]."""

    @staticmethod
    def statistics(x: Tensor, weight: Tensor, eps: float) -> Pair:
        zeros = torch.zeros_like(weight)
        # Given buffers to fill, the kernel returns mean and variance in their precision instead of x's.
        mean, variance = torch.batch_norm_update_stats(x, zeros, zeros.clone(), 1.0)
        return mean, variance

    @staticmethod
    def merge(
        x: Tensor, means: Tensor, variances: Tensor, rows: tuple[int, ...], running: Pair, momentum: float, eps: float
    ) -> Pair:
        """The statistics of all ranks' rows from each rank's [W, F]; moves the running ones."""
        total, part = sum(rows), _parts(rows, means)
        mean = (part * means).sum(0)
        variance = (part * (variances + (means - mean).square())).sum(0)
        running[0].lerp_(mean, momentum)
        running[1].lerp_(variance * (total / max(total - 1, 1)), momentum)
        return mean, variance

    @staticmethod
    def normalise(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def reduce(dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, eps: float) -> tuple[Tensor, ...]:
        """Two sums over this rank's rows, the gradients of weight and bias, and what `spread` goes on with."""
        # As if the statistics were constants: what a pass in training would have saved of them is not given.
        dx, weight_grad, bias_grad = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, None, None, False, eps, [True, True, True]
        )
        return weight_grad, bias_grad, weight_grad, bias_grad, dx

    @staticmethod
    def spread(
        dx: Tensor, x: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, sums: Pair, rows: tuple[int, ...],
        eps: float,
    ) -> Tensor:  # fmt: skip
        """The gradient of x, from the sums over all ranks."""
        scale = -weight * torch.rsqrt(variance + eps) / sum(rows)
        return F.batch_norm(x, mean, variance, sums[0] * scale, sums[1] * scale, training=False, eps=eps).add_(dx)


class _Fused:
    """The same by the kernels that torch has for it on CUDA alone. Its statistics are means and inverse standard
    deviations [F]."""

    @staticmethod
    def statistics(x: Tensor, weight: Tensor, eps: float) -> Pair:
        return torch.batch_norm_stats(x, eps)

    @staticmethod
    def merge(
        x: Tensor, means: Tensor, deviations: Tensor, rows: tuple[int, ...], running: Pair, momentum: float, eps: float
    ) -> Pair:
        counts = _counts(rows, running[0].dtype, x.device)
        return torch.batch_norm_gather_stats_with_counts(x, means, deviations, *running, momentum, eps, counts)

    @staticmethod
    def normalise(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, deviation: Tensor, eps: float) -> Tensor:
        return torch.batch_norm_elemt(x, weight, bias, mean, deviation, eps)

    @staticmethod
    def reduce(
        dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, deviation: Tensor, eps: float
    ) -> tuple[Tensor, ...]:
        return *torch.batch_norm_backward_reduce(dy, x, mean, deviation, weight, True, True, True), dy

    @staticmethod
    def spread(
        dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, deviation: Tensor, sums: Pair, rows: tuple[int, ...],
        eps: float,
    ) -> Tensor:  # fmt: skip
        counts = _counts(rows, torch.int32, x.device)
        return torch.batch_norm_backward_elemt(dy, x, mean, deviation, weight, *sums, counts)


def _kernels(x: Tensor) -> type[_Portable | _Fused]:
    return _Fused if x.is_cuda else _Portable


class _SyncedNorm(torch.autograd.Function):
    """Maps [R, F, *], each normalised by its own statistics over every rank's rows, in as many passes over them as one
    process's batch norm needs, by one collective there and one back. `running`, a mean and an unbiased variance [F],
    moves by `momentum` towards the statistics of one map after the other."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, running: Pair, momentum: float, eps: float,  # noqa: ANN401
        *maps: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        kernels, features = _kernels(weight), len(weight)
        maps = tuple(x.contiguous(memory_format=_layout(x)) for x in maps)
        own = [kernels.statistics(x, weight, eps) if x.numel() else weight.new_zeros(2, features) for x in maps]
        parts = gather_from_ranks(torch.cat([part for pair in own for part in pair])).view(-1, len(maps), 2, features)
        if _shares is not None and 0 in _shares:  # what a rank without rows says stands for nothing
            parts = torch.stack([part for part, share in zip(parts, _shares, strict=True) if share])
        rows = [_rows(x) for x in maps]
        outputs, statistics = list[Tensor](), list[Tensor]()
        for x, (firsts, seconds), counts in zip(maps, parts.permute(1, 2, 0, 3), rows, strict=True):
            pair = kernels.merge(x, firsts, seconds, counts, running, momentum, eps)
            statistics += pair
            outputs.append(kernels.normalise(x, weight, bias, *pair, eps) if x.numel() else x.clone())
        ctx.kernels, ctx.rows, ctx.eps = kernels, rows, eps
        ctx.save_for_backward(weight, *maps, *statistics)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        kernels, (weight, *saved) = ctx.kernels, ctx.saved_tensors
        maps, statistics = saved[: len(dys)], zip(saved[len(dys) :: 2], saved[len(dys) + 1 :: 2], strict=True)
        passes = [(x, weight, *pair) for x, pair in zip(maps, statistics, strict=True)]
        found = [
            kernels.reduce(dy.contiguous(memory_format=_layout(given[0])), *given, ctx.eps) if len(dy)
            else (*weight.new_zeros(4, len(weight)), dy)
            for dy, given in zip(dys, passes, strict=True)
        ]  # fmt: skip
        sums = sum_over_ranks(torch.cat([part for parts in found for part in parts[:2]])).view(len(dys), 2, len(weight))
        dxs = [
            kernels.spread(going, *given, both.unbind(), rows, ctx.eps) if len(going) else going
            for (*_, going), given, both, rows in zip(found, passes, sums, ctx.rows, strict=True)
        ]
        gradients = [[*parts[2:4]] for parts in found]
        for more in gradients[1:]:
            torch._foreach_add_(gradients[0], more)
        return (*gradients[0], None, None, None, *dxs)


def _layout(x: Tensor) -> torch.memory_format:
    channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _rows(x: Tensor) -> tuple[int, ...]:
    """How many rows each rank that has any has, positions included."""
    positions = x.shape[2:].numel()
    return tuple(share * positions for share in _shares or (len(x),) * world_size() if share)


def _parts(rows: tuple[int, ...], like: Tensor) -> Tensor | float:
    """Each rank's part of all rows [W, 1], or the same for all."""
    if len(set(rows)) == 1:
        return 1 / len(rows)
    return (torch.tensor(rows, dtype=torch.float64, device=like.device)[:, None] / sum(rows)).to(like.dtype)


@functools.lru_cache(maxsize=256)  # for the host waits while numbers become a tensor on a GPU
def _counts(rows: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=dtype, device=device)


class BatchNorm(_BatchNorm):
    """Batch norm over the rows of all ranks, for [R, F] and [R, F, h, w]; the state dict is nn.BatchNorm's."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm needs [rows, features, …], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        return self.together([input])[0]

    def together(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Normalises each of `maps`, in training over ranks, as a call for each in turn would, with one collective for
        all; `num_batches_tracked` is the caller's."""
        assert self.running_mean is not None and self.running_var is not None
        running = self.running_mean, self.running_var
        return list(_SyncedNorm.apply(self.weight, self.bias, running, self.momentum or 0.1, self.eps, *maps))

    def at_positions(self, x: Tensor) -> Tensor:
        """Normalises x [R, P, F] as P separate calls would, one for each position's R rows, in a single pass.

        The running statistics end as after P updates in order: r ← (1−m)^P r + Σ_i m (1−m)^(P−1−i) s_i.
        """
        rows, positions, features = x.shape
        if not self.training:
            return super().forward(x.reshape(-1, features)).view_as(x)
        flat = x.reshape(rows, positions * features)
        weight, bias = self.weight.repeat(positions), self.bias.repeat(positions)
        # With momentum 1 this batch's own mean and unbiased variance are left in the buffers.
        mean, variance = flat.new_zeros(2, flat.shape[1], dtype=self.weight.dtype)
        if world_size() == 1:
            y = F.batch_norm(flat, mean, variance, weight, bias, training=True, momentum=1.0, eps=self.eps)
        else:
            (y,) = _SyncedNorm.apply(weight, bias, (mean, variance), 1.0, self.eps, flat)
        self._track(mean.view(positions, features), variance.view(positions, features))
        return y.view_as(x)

    @torch.no_grad()
    def _track(self, means: Tensor, variances: Tensor) -> None:
        """Folds the statistics of consecutive calls, [calls, F] each, into the running ones."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        calls, momentum = len(means), self.momentum or 0.1
        later = torch.arange(calls - 1, -1, -1, dtype=means.dtype, device=means.device)
        shares = momentum * (1 - momentum) ** later
        for running, values in ((self.running_mean, means), (self.running_var, variances)):
            running.addmv_(values.mT, shares, beta=(1 - momentum) ** calls)  # never in half precision, unlike @
        self.num_batches_tracked += calls
