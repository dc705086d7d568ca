"""Sinkhorn-Knopp assignments: soft codes that use every prototype equally (SwAV, arXiv 2006.09882)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from golang.collectives import sum_over_ranks


@torch.no_grad()
def sinkhorn(
    logits: Sequence[Tensor], epsilon: float, iterations: int = 3, wanted: Sequence[int] | None = None
) -> list[Tensor]:
    """Assignments for each of several problems at once, over the rows of all ranks.

    logits: one [B_i, K_i] of cosines a problem, this rank's rows. Returns one [B_i, K_i] each, whose rows sum to 1;
    with `wanted`, only the last wanted_i rows of each, for those of a queue are nobody's target.
    Only two scaling vectors are iterated, so a step costs one all-reduce an iteration, whatever the number of problems.
    Always in fp32 or better, outside autocast.
    """
    device = logits[0].device.type
    with torch.autocast(device, enabled=False):
        # One shift, equal on all ranks, is exact, and cosines are at most 1.
        kernels = [torch.exp((x if x.dtype == torch.float64 else x.float()).sub(1).div_(epsilon)) for x in logits]
        sizes = [kernel.shape[1] for kernel in kernels]
        rows = [kernel.new_ones(len(kernel)) for kernel in kernels]
        columns = [kernel.new_ones(kernel.shape[1]) for kernel in kernels]
        for _ in range(iterations):
            masses = torch.cat([kernel.T @ row for kernel, row in zip(kernels, rows, strict=True)])
            columns = list(sum_over_ranks(masses).reciprocal().split(sizes))
            rows = [(kernel @ column).reciprocal() for kernel, column in zip(kernels, columns, strict=True)]
        counts = wanted if wanted is not None else [len(kernel) for kernel in kernels]
        return [
            kernel[-count:] * row[-count:, None] * column
            for kernel, row, column, count in zip(kernels, rows, columns, counts, strict=True)
        ]
