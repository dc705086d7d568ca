"""A rank's share of a batch cut into micro-batches, and what they give put together again.

Micro-batch j of n has the images j, j + n, j + 2n, …: the same images of the global batch on any number of ranks.
Rows of more than one view are view-major, as in `golang.method.model.Branches`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from golang.config import NUM_LARGE
from golang.method.objective import Losses, Targets
from golang.method.signs import Signs


@dataclass
class Batch:
    """What a step trains on, on one rank."""

    large: Tensor  # [2·b, 3, S, S]
    small: Tensor | None  # [m·b, 3, s, s]
    permutations: Tensor | None  # of local views, as in `objective.local_loss`

    @property
    def images(self) -> int:
        return len(self.large) // NUM_LARGE

    def part(self, number: int, count: int) -> Batch:
        """Micro-batch `number` of `count`, in the layout of the batch."""

        def cut(rows: Tensor) -> Tensor:
            return torch.cat([view[number::count] for view in rows.split(self.images)])

        each = self.permutations
        if each is not None and each.dim() == 3:  # of each image
            each = each[:, number::count]
        return Batch(cut(self.large), None if self.small is None else cut(self.small), each)


def targets_of(targets: Targets, images: int, number: int, count: int) -> Targets:
    """Those of micro-batch `number` of `count`, from those of a batch of `images`."""
    local = targets.local
    if local is not None:
        local = local.unflatten(1, (images, -1))[:, number::count].flatten(1, 2)
    return Targets(targets.global_[:, number::count], local, targets.logits)


def joined_rows(parts: Sequence[Tensor], images: int) -> Tensor:
    """Rows [2·b·n, …] of a batch's large views, from those of its micro-batches."""
    views = [part.unflatten(0, (NUM_LARGE, images // len(parts), -1)) for part in parts]
    return torch.stack(views, dim=2).flatten(0, 3)


def joined_signs(parts: Sequence[Signs]) -> Signs:
    """What a batch shows; its assignments are in the order of the micro-batches."""
    entropies = [part.attention_entropy for part in parts if part.attention_entropy is not None]
    assignments = zip(*(part.assignments for part in parts), strict=True)
    return Signs(tuple(map(torch.cat, assignments)), torch.stack(entropies).mean() if entropies else None)


def joined_losses(parts: Sequence[Losses]) -> Losses:
    """A batch's losses, without their graphs."""
    kinds = [(part.total, part.global_, part.local, part.cross_view) for part in parts]
    known = [torch.stack([loss for loss in losses if loss is not None]) for losses in kinds]  # SwAV has the first two
    return Losses(*torch.stack(known).detach().mean(0))


@contextlib.contextmanager
def unchanged(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Puts `tensors` back as they were, once left."""
    there = list(tensors)
    before = [tensor.clone() for tensor in there]
    yield
    torch._foreach_copy_(there, before)
