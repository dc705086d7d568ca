"""Which local view predicts which: counted permutations, equal on all ranks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from golang.config import Config
from golang.config.checks import local_views
from golang.randomness import Purpose, generator


def of_step(config: Config, step: int, rank: int, ranks: int) -> Tensor | None:
    """The permutations that rank `rank` needs in a step; None for a method without local views."""
    if not (views := local_views(config)):
        return None
    share = config.optim.batch_size // ranks
    return local_permutations(config.method.local_permutation, views, config.seed, step, rank * share, share)


def local_permutations(mode: str, views: int, seed: int, step: int, first_row: int, rows: int) -> Tensor:
    """Permutations for target views 0 and 1, a function of (seed, step, view) and the row of the global batch.

    batch: one for all images, int64 [2, n] (the published way); image: one for each image, [2, b, n], where this rank
    holds rows first_row … first_row + rows of the global batch; matched: the identity, [2, n].
    """
    if mode == "matched":
        return torch.arange(views).repeat(2, 1)  # not expanded: page-locked memory takes no row twice
    draws = [generator(seed, Purpose.PERMUTATION, step, view, 1 - view) for view in range(2)]
    if mode == "batch":
        return torch.from_numpy(np.stack([draw.permutation(views) for draw in draws]))
    identity = np.tile(np.arange(views), (first_row + rows, 1))
    return torch.from_numpy(np.stack([draw.permuted(identity, axis=1)[first_row:] for draw in draws]))
