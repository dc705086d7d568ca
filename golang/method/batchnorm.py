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
    """Rows [R, F, *] of every rank, normalised by their common statistics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        values = x if x.dtype == torch.float64 else x.float()
        dims = _rows(x)
        rows = x.numel() // x.shape[1]
        mean = values.mean(dims) if rows else values.new_zeros(x.shape[1])
        scatter = (values - _wide(mean, x)).square().sum(dims)
        means, scatters = gather_from_ranks(torch.stack([mean, scatter])).unbind(1)
        if _shares is None:
            mean = means.mean(0)
            scatter = scatters.sum(0) + rows * (means - mean).square().sum(0)
            total = rows * world_size()
        else:
            positions = x.shape[2:].numel()
            counts = torch.tensor(_shares, dtype=means.dtype, device=x.device)[:, None] * positions
            total = sum(_shares) * positions
            mean = (counts * means).sum(0) / total
            scatter = scatters.sum(0) + (counts * (means - mean).square()).sum(0)
        variance = scatter / total
        scale = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.total = total
        y = (values - _wide(mean, x)) * _wide(scale * weight, x) + _wide(bias, x)
        unbiased = scatter / max(total - 1, 1)
        ctx.mark_non_differentiable(mean, unbiased)
        return y.to(x.dtype), mean, unbiased

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        x, weight, mean, scale = ctx.saved_tensors
        dims = _rows(x)
        dy_values = dy if dy.dtype == torch.float64 else dy.float()
        normal = ((x if x.dtype == torch.float64 else x.float()) - _wide(mean, x)) * _wide(scale, x)
        bias_grad = dy_values.sum(dims)
        weight_grad = (dy_values * normal).sum(dims)
        over_ranks = sum_over_ranks(torch.stack([bias_grad, weight_grad])) / ctx.total
        centred = dy_values - _wide(over_ranks[0], x) - normal * _wide(over_ranks[1], x)
        return (centred * _wide(scale * weight, x)).to(x.dtype), weight_grad, bias_grad, None


class BatchNorm(_BatchNorm):
    """Batch norm over the rows of all ranks, for [R, F] and [R, F, h, w]; the state dict is nn.BatchNorm's."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm needs [rows, features, …], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            alone: Tensor = super().forward(input)
            return alone
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
            shares = momentum * (1 - momentum) ** torch.arange(
                calls - 1, -1, -1, dtype=means.dtype, device=means.device
            )
            for running, values in pairs:
                running.addmv_(values.mT, shares, beta=(1 - momentum) ** calls)  # never in half precision, unlike @
        self.num_batches_tracked += calls


def _rows(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _wide(features: Tensor, like: Tensor) -> Tensor:
    return features.view(1, -1, *[1] * (like.dim() - 2))
