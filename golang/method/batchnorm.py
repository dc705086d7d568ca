"""Batch norm synchronised over ranks, on any backend, with a batched form for independent positions.

With one process it is PyTorch's own batch norm; with several, statistics are those of all ranks' rows
(torch's SyncBatchNorm does the same, on CUDA alone).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from golang.collectives import gather_from_ranks, sum_over_ranks, world_size

_shares: tuple[int, ...] | None = None  # images of each rank, where they differ


@contextlib.contextmanager
def uneven(shares: Sequence[int]) -> Iterator[None]:
    """While entered, rank r feeds shares[r] images, perhaps none, to each norm. Otherwise all feed equally many."""
    global _shares
    _shares = tuple(shares) if len(set(shares)) > 1 else None
    try:
        yield
    finally:
        _shares = None


class _SyncedNorm(torch.autograd.Function):
    """Rows [R, F, *] of every rank, normalised by their common statistics, in as many passes over them as one process's
    batch norm needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        zeros = torch.zeros_like(weight)
        # Given buffers to fill, the kernel returns mean and variance in their precision instead of x's.
        own = torch.batch_norm_update_stats(x, zeros, zeros.clone(), 1.0) if x.numel() else (zeros, zeros)
        means, variances = gather_from_ranks(torch.stack(own)).unbind(1)
        total, part = _parts(x)
        mean = (part * means).sum(0)
        variance = (part * (variances + (means - mean).square())).sum(0)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.total, ctx.eps = total, eps
        unbiased = variance * (total / max(total - 1, 1))
        ctx.mark_non_differentiable(mean, unbiased)
        return _normalised(x, mean, variance, weight, bias, eps), mean, unbiased

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        x, weight, mean, variance = ctx.saved_tensors
        channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        dy = dy.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        dx, weight_grad, bias_grad = dy, torch.zeros_like(weight), torch.zeros_like(weight)
        if x.numel():  # as if the statistics were constants
            unsaved = mean.new_empty(0)  # as a pass in evaluation mode leaves it: the CUDA kernel takes no None
            dx, weight_grad, bias_grad = torch.ops.aten.native_batch_norm_backward(
                dy, x, weight, mean, variance, unsaved, unsaved, False, ctx.eps, [True, True, True]
            )
        scale = weight * torch.rsqrt(variance + ctx.eps)
        slopes, offsets = sum_over_ranks(torch.stack([weight_grad, bias_grad])) * (-scale / ctx.total)
        return _normalised(x, mean, variance, slopes, offsets, ctx.eps).add_(dx), weight_grad, bias_grad, None


def _parts(x: Tensor) -> tuple[int, Tensor | float]:
    """How many rows all ranks have, positions included, and each rank's part of them, [W, 1] or the same for all."""
    positions = x.shape[2:].numel()
    if _shares is None:
        return len(x) * positions * world_size(), 1 / world_size()
    parts = torch.tensor(_shares, dtype=torch.float64, device=x.device)[:, None] / sum(_shares)
    return sum(_shares) * positions, parts.to(x.dtype if x.dtype == torch.float64 else torch.float32)


def _normalised(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """weight · (x − mean)/√(variance + ε) + bias, in one pass."""
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps) if x.numel() else torch.zeros_like(x)


class BatchNorm(_BatchNorm):
    """Batch norm over the rows of all ranks, for [R, F] and [R, F, h, w]; the state dict is nn.BatchNorm's."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm needs [rows, features, …], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        y: Tensor
        y, mean, variance = _SyncedNorm.apply(input, self.weight, self.bias, self.eps)
        self._track(mean[None], variance[None])
        return y

    def at_positions(self, x: Tensor) -> Tensor:
        """Normalises x [R, P, F] as P separate calls would, one for each position's R rows, in a single pass.

        The running statistics end as after P updates in order: r ← (1−m)^P r + Σ_i m (1−m)^(P−1−i) s_i.
        """
        rows, positions, features = x.shape
        if not self.training:
            return super().forward(x.reshape(-1, features)).view_as(x)
        flat = x.reshape(rows, positions * features)
        weight, bias = self.weight.repeat(positions), self.bias.repeat(positions)
        if world_size() == 1:
            # With momentum 1 the kernel leaves this batch's own mean and unbiased variance in the buffers.
            mean, variance = flat.new_zeros(2, flat.shape[1], dtype=self.weight.dtype)
            y = F.batch_norm(flat, mean, variance, weight, bias, training=True, momentum=1.0, eps=self.eps)
        else:
            y, mean, variance = _SyncedNorm.apply(flat, weight, bias, self.eps)
        self._track(mean.view(positions, features), variance.view(positions, features))
        return y.view_as(x)

    @torch.no_grad()
    def _track(self, means: Tensor, variances: Tensor) -> None:
        """Folds the statistics of consecutive calls, [calls, F] each, into the running ones."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        calls, momentum = len(means), self.momentum or 0.1
        pairs = ((self.running_mean, means), (self.running_var, variances))
        if calls == 1:
            for running, values in pairs:
                running.lerp_(values[0], momentum)
        else:
            later = torch.arange(calls - 1, -1, -1, dtype=means.dtype, device=means.device)
            shares = momentum * (1 - momentum) ** later
            for running, values in pairs:
                running.addmv_(values.mT, shares, beta=(1 - momentum) ** calls)  # never in half precision, unlike @
        self.num_batches_tracked += calls
