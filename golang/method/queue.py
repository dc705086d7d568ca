"""Queues of past embeddings that join the Sinkhorn problem of small batches."""

from __future__ import annotations

import torch
from torch import Tensor


class EmbeddingQueue:
    """The last embeddings of each large view, newest first: rows [2, L/W, D] on each of W ranks.

    It exists from the moment it is created and is `ready` once every row has been filled. Between world sizes it
    travels in one global order [2, L, D]: newest step first, within a step by rank (see `globalise`, `localise`).
    """

    def __init__(self, rows: int, features: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.rows = torch.zeros(2, rows, features, device=device, dtype=dtype)
        self.filled = 0  # rows a view that hold an embedding

    @property
    def ready(self) -> bool:
        return self.filled == self.rows.shape[1]

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Puts this step's embeddings [2, r, D] in front and drops the oldest r rows of each view."""
        size, new = self.rows.shape[1], embeddings.shape[1]
        self.rows = torch.cat([embeddings.to(self.rows.dtype), self.rows[:, : size - new]], dim=1)
        self.filled = min(size, self.filled + new)


def globalise(parts: Tensor, rows_a_step: int) -> Tensor:
    """One global queue [2, L, D] from every rank's part [W, 2, L/W, D], each with `rows_a_step` rows a step."""
    world, views, rows, features = parts.shape
    steps = parts.reshape(world, views, rows // rows_a_step, rows_a_step, features)
    return steps.permute(1, 2, 0, 3, 4).reshape(views, world * rows, features)


def localise(whole: Tensor, rank: int, world: int, rows_a_step: int) -> Tensor:
    """Rank `rank`'s part [2, L/W, D] of the global queue [2, L, D]."""
    views, length, features = whole.shape
    steps = whole.reshape(views, length // (world * rows_a_step), world, rows_a_step, features)
    return steps[:, :, rank].reshape(views, length // world, features).contiguous()
