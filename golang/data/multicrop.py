"""Several crops of every image (SwAV's multi-crop, arXiv 2006.09882), as bytes: they are normalised on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from golang import randomness
from golang.config import NUM_LARGE, Augment
from golang.data import augment
from golang.data.images import ImageSet
from golang.randomness import Purpose

Position = tuple[int, int]  # epoch, index of the image
Crops = tuple[Tensor, Tensor]  # large, small


class MultiCrop(Dataset[Crops]):
    """The views of an image in an epoch: a pure function of (seed, epoch, index), whoever computes it and when."""

    def __init__(self, images: ImageSet, settings: Augment, seed: int) -> None:
        self.images = images
        self.settings = settings
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> Crops:
        """Large crops uint8 [2, 3, S, S] and small crops uint8 [n, 3, s, s]; n may be 0.

        Views are counted large first. Raises DataError when the image cannot be read.
        """
        epoch, index = position
        image = self.images.load(index)  # decoded once for all views
        s = self.settings

        def crop(view: int, size: int, scale: tuple[float, float]) -> Tensor:
            rng = randomness.generator(self.seed, Purpose.VIEW, epoch, index, view)
            return augment.apply(image, augment.draw(rng, *image.size, size, scale, s), size)

        large = torch.stack([crop(view, s.large_size, s.large_scale) for view in range(NUM_LARGE)])
        small = torch.empty(s.small_count, 3, s.small_size, s.small_size, dtype=torch.uint8)
        for n in range(s.small_count):
            small[n] = crop(NUM_LARGE + n, s.small_size, s.small_scale)
        return large, small


def collate(items: Sequence[Crops]) -> Crops:
    """b images' crops as large uint8 [2, b, 3, S, S] and small uint8 [n, b, 3, s, s].

    Both are contiguous: flatten(0, 1) is a view whose row v·b + i is view v of image i.
    """
    return torch.stack([large for large, _ in items], dim=1), torch.stack([small for _, small in items], dim=1)
