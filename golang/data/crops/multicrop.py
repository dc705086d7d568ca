"""Several crops of every image (SwAV's multi-crop, arXiv 2006.09882), as bytes: they are normalised on the device.

Three pipelines make a view from the same parameters (`data.pipeline`): `pil` with Pillow, `opencv` with OpenCV, and
`device`, which only crops and resizes here and leaves the rest to `device.adjust`. Their levels differ a little, so the
pipeline belongs to a run's identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from golang import randomness
from golang.config import NUM_LARGE, Augment
from golang.data import decode, pixels
from golang.data.crops import opencv, pillow
from golang.data.crops.device import COLUMNS, adjust, normalise, pack, resized
from golang.data.crops.draw import ViewParameters, draw
from golang.data.images import ImageSet
from golang.randomness import Purpose

Position = tuple[int, int]  # epoch, index of the image
Pipeline = Literal["pil", "opencv", "device"]
_Apply = Callable[[Any, ViewParameters, int], Tensor]  # a view, uint8 [3, size, size], of an image or its pixels
_APPLY: dict[Pipeline, _Apply] = {"pil": pillow.apply, "opencv": opencv.apply, "device": resized}


class Crops(NamedTuple):
    """An image's crops, or a batch's (shapes in brackets)."""

    large: Tensor  # uint8 [2, 3, S, S] ([2, b, 3, S, S])
    small: Tensor  # uint8 [n, 3, s, s] ([n, b, 3, s, s]); n may be 0
    unreadable: Tensor  # int64 [0], or [1] with the index of an image that another stands in for ([0 … b])
    jitter: Tensor  # float32 [2 + n, 11], what is left to `device.adjust` ([2 + n, b, 11]); [0, 11] if nothing is


class MultiCrop(Dataset[Crops]):
    """The views of an image in an epoch: a pure function of (seed, epoch, index), whoever computes it and when. Raises
    ConfigError when the pipeline's library is missing."""

    def __init__(self, images: ImageSet, settings: Augment, seed: int, pipeline: Pipeline = "pil") -> None:
        self.images, self.settings, self.seed, self.pipeline = images, settings, seed, pipeline
        if pipeline == "opencv":
            opencv.cv2()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> Crops:
        """One image's crops. Views are counted large first. Raises DataError as `ImageSet.nearest` does."""
        index, s = position[1], self.settings
        image: Any  # of Pillow or its pixels, decoded once for all views
        if self.pipeline == "pil":
            image, nearest = self.images.nearest(index, decode.decode)
            views = self.parameters(position, *image.size)
        else:
            image, nearest = self.images.nearest(index, pixels.pixels)
            views = self.parameters(position, image.shape[3], image.shape[2])
        apply = _APPLY[self.pipeline]
        large = torch.empty(NUM_LARGE, 3, s.large_size, s.large_size, dtype=torch.uint8)
        small = torch.empty(s.small_count, 3, s.small_size, s.small_size, dtype=torch.uint8)
        for target, parameters in zip((*large, *small), views, strict=True):
            target.copy_(apply(image, parameters, target.shape[-1]))
        unreadable = torch.tensor([index] if nearest != index else [], dtype=torch.int64)
        left = [pack(parameters) for parameters in views] if self.pipeline == "device" else []
        return Crops(large, small, unreadable, torch.tensor(left, dtype=torch.float32).view(-1, COLUMNS))

    def parameters(self, position: Position, width: int, height: int) -> list[ViewParameters]:
        """Every view's parameters, large crops first, for an image of `width` × `height` pixels."""
        s = self.settings
        return [
            draw(randomness.generator(self.seed, Purpose.VIEW, *position, view), width, height, scale, s)
            for view, scale in enumerate([s.large_scale] * NUM_LARGE + [s.small_scale] * s.small_count)
        ]


def collate(items: Sequence[Crops]) -> Crops:
    """b images' crops as one batch, contiguous: flatten(0, 1) is a view whose row v·b + i is view v of image i."""
    large, small, unreadable, left = zip(*items, strict=True)
    return Crops(torch.stack(large, dim=1), torch.stack(small, dim=1), torch.cat(unreadable), torch.stack(left, dim=1))


def on_device(batch: Crops, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """A batch as the network takes it: large [2·b, 3, S, S] and small [n·b, 3, s, s] (None for n = 0), normalised.
    Copies from page-locked memory are not waited for."""
    groups = []
    for crops, left in zip(batch[:2], (batch.jitter[:NUM_LARGE], batch.jitter[NUM_LARGE:]), strict=True):
        rows = crops.flatten(0, 1).to(device, non_blocking=True)
        if rows.numel() and left.numel():
            rows = adjust(rows, left.flatten(0, 1).to(device, non_blocking=True))
        groups.append(normalise(rows, dtype) if rows.numel() else None)
    large, small = groups
    assert large is not None
    return large, small
