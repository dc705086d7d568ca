"""What a network draws, as functions of seed, epoch and image: weights, anchors and regions, dropped channels.

torchvision draws all of it from the process's stream, whose place depends on what else is in a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from golang.evaluation.transfer.networks.types import Key
from golang.randomness import Purpose, generator


@contextlib.contextmanager
def weights(seed: int) -> Iterator[None]:
    """While entered, torch initialises by `seed`; its own stream goes on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(generator(seed, Purpose.WEIGHTS).integers(2**62)))
        yield


def balanced(labels: Tensor, most: int, share: float, key: Key, purpose: Purpose) -> tuple[Tensor, Tensor]:
    """At most `most` of an image's candidates: positions of positive ones (labels ≥ 1), at most that `share` of `most`,
    and of negative ones (0), as many as are left; int64 each, ascending. Labels below 0 are never drawn."""
    rng = generator(key[0], purpose, *key[1:])
    positive = _some(rng, (labels >= 1).nonzero()[:, 0], int(most * share))
    return positive, _some(rng, (labels == 0).nonzero()[:, 0], most - len(positive))


def _some(rng: np.random.Generator, among: Tensor, most: int) -> Tensor:
    if len(among) <= most:
        return among
    chosen = np.sort(rng.choice(len(among), most, replace=False, shuffle=False))
    return among[torch.from_numpy(chosen).to(among.device)]


def kept_channels(keys: Sequence[Key], head: int, rate: float, like: Tensor) -> Tensor:
    """Factors [b, F, 1, 1] that drop whole channels of `like` [b, F, h, w] at `rate` and keep its mean."""
    drawn = [generator(key[0], Purpose.DROPOUT, *key[1:], head).random(like.shape[1]) for key in keys]
    kept = (np.array(drawn).reshape(len(keys), like.shape[1]) >= rate) / (1 - rate)
    return torch.from_numpy(kept).to(like.device, like.dtype)[:, :, None, None]
