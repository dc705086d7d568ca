"""Losses as a sum and a count, so that ranks with unlike shares of a batch are together what one process is.

torchvision divides each by what its own process found. Averages of such averages are not the batch's: a mask's loss is
of positives, of which one rank may have none; classes and boxes are of regions, fewer than asked for in small images.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golang.collectives import sum_over_ranks
from golang.evaluation.transfer.networks.types import Loss


def over_ranks(losses: Mapping[str, Loss]) -> tuple[Tensor, dict[str, Tensor]]:
    """This rank's part of the batch's loss, whose gradients, summed over ranks, are the batch's; and each loss of the
    batch by name, the same on all ranks. Of nothing, a loss is 0."""
    sums = torch.stack([total for total, _ in losses.values()])
    counts = torch.stack([count.to(sums) for _, count in losses.values()])
    all_sums, all_counts = sum_over_ranks(torch.stack([sums.detach(), counts]))
    divisors = all_counts.clamp(min=1)
    return (sums / divisors).sum(), dict(zip(losses, all_sums / divisors, strict=True))


def loss(total: Tensor, count: int) -> Loss:
    return total, total.new_tensor(float(count))


def nothing(*modules: nn.Module) -> Tensor:
    """A zero that each parameter of `modules` has a gradient of, zeros."""
    return torch.stack([0 * wide(parameter).sum() for module in modules for parameter in module.parameters()]).sum()


def wide(x: Tensor) -> Tensor:
    """In fp32, if it is of half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def absolute(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Box losses are L1, as in the figures of the literature; torchvision's are smooth below 1/9."""
    return F.l1_loss(wide(predicted), wanted.to(wide(predicted)), reduction="sum")


def binary(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy, element by element."""
    return F.binary_cross_entropy_with_logits(wide(logits), wanted.to(wide(logits)), reduction="none")


def classes(logits: Tensor, wanted: Tensor, ignored: int = -100) -> Tensor:
    """Cross-entropy of rows [n, C], summed over those whose class is not `ignored`. Rows are added up by a reduction of
    their own: torch's loss does it in one block of a GPU."""
    return F.cross_entropy(wide(logits), wanted, ignore_index=ignored, reduction="none").sum()
