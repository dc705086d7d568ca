"""The few collectives that the method needs; without a process group they are the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's `tensor`, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def gather_rows(tensor: Tensor) -> Tensor:
    """Every rank's rows [n, ...] in rank order; n may differ between ranks."""
    if world_size() == 1:
        return tensor
    sizes = gather_from_ranks(torch.tensor([len(tensor)], device=tensor.device))[:, 0].tolist()
    padded = torch.cat([tensor, tensor.new_zeros(max(sizes) - len(tensor), *tensor.shape[1:])])
    parts = gather_from_ranks(padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def gather_from_ranks(tensor: Tensor) -> Tensor:
    """Every rank's `tensor` [...], stacked in rank order [W, ...]."""
    if world_size() == 1:
        return tensor[None]
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.stack(parts)
