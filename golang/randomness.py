"""Counted randomness: every draw is a pure function of a seed and a position in the run.

Nothing is streamed, so workers, ranks, restarts and world sizes cannot change what is drawn.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt


class Purpose(enum.IntEnum):
    """Keeps draws for different purposes at the same position apart."""

    ORDER = 0
    VIEW = 1
    PERMUTATION = 2
    WEIGHTS = 3
    SCENE = 4
    PROBE = 5
    SUBSET = 6
    ANCHORS = 7
    REGIONS = 8
    DROPOUT = 9


def generator(seed: int, purpose: Purpose, *position: int) -> np.random.Generator:
    """A NumPy generator that depends on nothing but its arguments."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(purpose), *position])))


def permutation(size: int, seed: int, purpose: Purpose, *position: int) -> npt.NDArray[np.int64]:
    """A permutation of range(size), int64 [size]."""
    return generator(seed, purpose, *position).permutation(size)
