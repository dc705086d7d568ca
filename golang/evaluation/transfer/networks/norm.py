"""How much each rank holds of a batch, told to the norms, whose statistics are those of all ranks' rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from golang.collectives import gather_from_ranks, world_size
from golang.method.batchnorm import uneven


def of_ranks(device: torch.device, *numbers: int) -> list[list[int]]:
    """Every rank's `numbers`, in rank order. The host waits for a device."""
    if world_size() == 1:
        return [list(numbers)]
    gathered: list[list[int]] = gather_from_ranks(torch.tensor(numbers, device=device)).tolist()
    return gathered


@contextlib.contextmanager
def rows(count: int, device: torch.device) -> Iterator[int]:
    """While entered, each norm knows that this rank feeds it `count` maps, perhaps none, and what others feed it; gives
    how many all feed. A rank without any takes its part in the collectives as the others do, there and back."""
    shares = [share for (share,) in of_ranks(device, count)]
    with uneven(shares):
        yield sum(shares)
