"""The few collectives that the method needs; without a process group they are the identity."""

from __future__ import annotations

from collections.abc import Iterable

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


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Each rank's gradients become their sum, in place, by one collective. One that is None on a rank is so on all."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = sum_over_ranks(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def gather_rows(tensor: Tensor) -> Tensor:
    """Every rank's rows [n, ...] in rank order; n may differ between ranks. Holds no more than its result besides."""
    if world_size() == 1:
        return tensor
    sizes = gather_from_ranks(torch.tensor([len(tensor)], device=tensor.device))[:, 0].tolist()
    whole = tensor.new_empty(sum(sizes), *tensor.shape[1:])
    for source, part in enumerate(whole.split(sizes)):
        if source == rank():
            part.copy_(tensor)
        if len(part):
            dist.broadcast(part, source)
    return whole


def gather_from_ranks(tensor: Tensor) -> Tensor:
    """Every rank's `tensor` [...], stacked in rank order [W, ...], by one collective into one tensor."""
    ranks = world_size()
    if ranks == 1:
        return tensor[None]
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # its name before torch 2.14
    whole = tensor.new_empty(ranks * tensor.numel())  # flat: gloo takes no other form for every shape
    gather(whole, tensor.reshape(-1))
    return whole.view(ranks, *tensor.shape)
