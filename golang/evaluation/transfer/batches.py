"""Which images make up which step: wide ones with wide ones, for the images of a batch are padded to one size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from golang.randomness import Purpose, generator, permutation


def plan(
    sizes: npt.NDArray[np.int32], chosen: npt.NDArray[np.int64], batch: int, seed: int, epoch: int
) -> list[list[int]]:
    """The images of each step of an epoch, over all ranks: of the `chosen` ones [n] of a set whose images' widths and
    heights are `sizes` [N, 2].

    In the epoch's order, wide images and others fill batches of their own; what either leaves is mixed, and what does
    not fill a last batch is excluded. The batches' order is drawn too. A function of its arguments alone.
    """
    order = chosen[permutation(len(chosen), seed, Purpose.ORDER, epoch)]
    wide = sizes[order, 0] > sizes[order, 1]
    groups = order[wide], order[~wide]
    whole = [group[: len(group) - len(group) % batch].reshape(-1, batch) for group in groups]
    rest = np.concatenate([group[len(group) - len(group) % batch :] for group in groups])
    mixed = rest[: len(rest) - len(rest) % batch].reshape(-1, batch)
    batches = np.concatenate([*whole, mixed])
    shuffled: list[list[int]] = batches[generator(seed, Purpose.ORDER, epoch, 1).permutation(len(batches))].tolist()
    return shuffled
