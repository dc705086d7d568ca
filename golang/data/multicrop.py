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
Crops = tuple[Tensor, Tensor, Tensor]  # large, small, indices of the images that were unreadable


class MultiCrop(Dataset[Crops]):
    """The views of an image in an epoch: a pure function of (seed, epoch, index), whoever computes it and when."""

    def __init__(self, images: ImageSet, settings: Augment, seed: int) -> None:
        self.images = images
        self.settings = settings
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> Crops:
        """Large crops uint8 [2, 3, S, S], small crops uint8 [n, 3, s, s] (n may be 0), and int64 [0], or [1] with the
        index where that image is unreadable and `ImageSet.load_nearest` found another.

        Views are counted large first. Raises DataError as `load_nearest` does.
        """
        epoch, index = position
        image, nearest = self.images.load_nearest(index)  # decoded once for all views
        s = self.settings

        def crop(view: int, size: int, scale: tuple[float, float]) -> Tensor:
            rng = randomness.generator(self.seed, Purpose.VIEW, epoch, index, view)
            return augment.apply(image, augment.draw(rng, *image.size, size, scale, s), size)

        large = torch.stack([crop(view, s.large_size, s.large_scale) for view in range(NUM_LARGE)])
        small = torch.empty(s.small_count, 3, s.small_size, s.small_size, dtype=torch.uint8)
        for n in range(s.small_count):
            small[n] = crop(NUM_LARGE + n, s.small_size, s.small_scale)
        return large, small, torch.tensor([index] if nearest != index else [], dtype=torch.int64)


def collate(items: Sequence[Crops]) -> Crops:
    """b images' crops as large uint8 [2, b, 3, S, S] and small uint8 [n, b, 3, s, s], and the indices of the
    unreadable ones among them, int64 [0 … b].

    Crops are contiguous: flatten(0, 1) is a view whose row v·b + i is view v of image i.
    """
    large, small, unreadable = zip(*items, strict=True)
    return torch.stack(large, dim=1), torch.stack(small, dim=1), torch.cat(unreadable)
