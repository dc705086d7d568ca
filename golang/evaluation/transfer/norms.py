"""Batch norm's statistics over many batches, in place of running ones (PreciseBN: Wu and Johnson, arXiv 2105.07576)."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class PopulationStatistics:
    """While entered, the statistics of passes in training are counted, and the running ones of `norms` are as before in
    the end; but `settle` replaces them by those of all rows that were seen. A norm that one pass uses several times,
    as heads on a feature pyramid do, counts each time alike."""

    def __init__(self, norms: Sequence[_BatchNorm]) -> None:
        self.norms = norms
        self._sums: dict[nn.Module, tuple[int, Tensor, Tensor]] = {}  # calls, sums of means and of second moments
        self._settled = False

    def __enter__(self) -> PopulationStatistics:
        self._before = [(norm.momentum, _buffers(norm)) for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 1.0  # a call leaves its own statistics
        self._hooks = [norm.register_forward_hook(self._count) for norm in self.norms]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        for norm, (momentum, buffers) in zip(self.norms, self._before, strict=True):
            norm.momentum = momentum
            if not self._settled or norm not in self._sums:
                for mine, old in zip(_tensors(norm), buffers, strict=True):
                    mine.copy_(old)

    def settle(self) -> None:
        """Gives each norm the statistics of what it has seen; one that has seen nothing keeps its own."""
        for norm in self.norms:
            if norm in self._sums:
                calls, means, moments = self._sums[norm]
                mean, variance, _ = _tensors(norm)
                mean.copy_(means / calls)
                variance.copy_(moments / calls - mean.square())
        self._settled = True

    def _count(self, norm: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401 - as torch calls it
        assert isinstance(norm, _BatchNorm)
        mean, variance, _ = _tensors(norm)
        calls, means, moments = self._sums.get(norm, (0, torch.zeros_like(mean), torch.zeros_like(mean)))
        self._sums[norm] = calls + 1, means + mean, moments + variance + mean.square()


def _tensors(norm: _BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    return norm.running_mean, norm.running_var, norm.num_batches_tracked


def _buffers(norm: _BatchNorm) -> tuple[Tensor, ...]:
    return tuple(one.clone() for one in _tensors(norm))
