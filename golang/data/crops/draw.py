"""The published augmentation of one crop (SwAV's, arXiv 2006.09882): parameters drawn first, then applied with Pillow.

Drawing is apart from applying, so that what happens to a view is a plain record which tests can count and a faster
implementation can be held against.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from golang.compat import torchvision
from golang.config import Augment

F = torchvision.transforms.functional

MEAN = (0.485, 0.456, 0.406)
STD = (0.228, 0.224, 0.225)  # .228, not ImageNet's usual .229: the published code's value

_RATIO = (3 / 4, 4 / 3)  # width over height of a crop
_TRIES = 10
_DRAWS = 2 * _TRIES + 2 + 1 + 1 + 4 + 4 + 1 + 1 + 1

_Adjust = Callable[[Image.Image, float], Image.Image]
_COLOR: tuple[_Adjust, ...] = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
NEUTRAL = (1.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True)
class Color:
    """Colour jitter. Indices count brightness, contrast, saturation, hue."""

    order: tuple[int, ...]  # which adjustment comes first, second, …
    factors: tuple[float, ...]  # by index, not by order


@dataclass(frozen=True)
class ViewParameters:
    """Everything that makes one view of an image."""

    box: tuple[int, int, int, int]  # top, left, height, width in pixels of the image
    flip: bool
    color: Color | None
    gray: bool
    blur_radius: float | None  # pixels of the crop


def draw(
    rng: np.random.Generator, width: int, height: int, size: int, scale: tuple[float, float], settings: Augment
) -> ViewParameters:
    """Parameters of one view of a `width` × `height` image, cropped to `size` pixels a side (which no parameter
    depends on: the blur is in pixels of the crop).

    Every call takes the same number of draws in the same order, used or not: the blur of a view does not depend on
    how many tries its crop took, nor on whether its colours change.

    Args:
        scale: the least and the greatest share of the image's area a crop covers.
    """
    u = iter(rng.random(_DRAWS).tolist())  # floats in [0, 1)
    box = _box(width, height, scale, [(next(u), next(u)) for _ in range(_TRIES)], next(u), next(u))
    flip = next(u) < settings.flip_probability
    colored = next(u) < settings.color_probability
    spans = [(max(0.0, 1.0 - x), 1.0 + x) for x in (settings.brightness, settings.contrast, settings.saturation)]
    factors = tuple(_between(span, next(u)) for span in (*spans, (-settings.hue, settings.hue)))
    keys = [next(u) for _ in _COLOR]
    order = tuple(sorted(range(len(keys)), key=keys.__getitem__))  # sorting by noise: all orders are equally likely
    gray = next(u) < settings.gray_probability
    blurred = next(u) < settings.blur_probability
    radius = _between(settings.blur_radius, next(u))
    return ViewParameters(box, flip, Color(order, factors) if colored else None, gray, radius if blurred else None)


def apply(image: Image.Image, parameters: ViewParameters, size: int) -> Tensor:
    """One view of an RGB image, uint8 [3, size, size]."""
    top, left, height, width = parameters.box
    view = F.resized_crop(image, top, left, height, width, [size, size], F.InterpolationMode.BILINEAR, antialias=True)
    if parameters.flip:
        view = F.hflip(view)
    if parameters.color is not None:
        for index in parameters.color.order:
            factor = parameters.color.factors[index]
            if factor != NEUTRAL[index]:  # a hue switched off must not be rounded through HSV and back
                view = _COLOR[index](view, factor)
    if parameters.gray:
        view = F.to_grayscale(view, num_output_channels=3)
    if parameters.blur_radius is not None:
        view = view.filter(ImageFilter.GaussianBlur(parameters.blur_radius))
    tensor: Tensor = F.pil_to_tensor(view)
    return tensor


def resized(image: Tensor, box: tuple[int, int, int, int], size: int) -> Tensor:
    """A box (as in ViewParameters) of uint8 [1, 3, H, W] (see `decode.pixels`) at uint8 [3, size, size], antialiased.

    Pillow's within a level, bytes all along: a third of Pillow's time.
    """
    top, left, height, width = box
    # Copied in the image's own layout: torch's kernel is faster on it, and its result lies as OpenCV wants it.
    part = image[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.interpolate(part, (size, size), mode="bilinear", antialias=True)[0]


def normalise(crops: Tensor, dtype: torch.dtype) -> Tensor:
    """(crops / 255 − MEAN) / STD on the device of `crops`, worked out in at least fp32 and returned as `dtype`.

    Args:
        crops: uint8 [..., 3, s, s]. Four dimensions come back channels_last, which convolutions run faster on.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    mean, std = _constants(crops.device, wide)
    layout = torch.channels_last if crops.dim() == 4 else torch.contiguous_format
    # Reordered while still bytes; the arithmetic keeps the layout.
    return crops.contiguous(memory_format=layout).to(wide).div_(255).sub_(mean).div_(std).to(dtype)


@functools.lru_cache(maxsize=16)
def _constants(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Kept: copying them to the device anew would make every step wait for it."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device, dtype=dtype).view(3, 1, 1) for values in (MEAN, STD))
    return mean, std


def _box(
    width: int, height: int, scale: tuple[float, float], tries: list[tuple[float, float]], row: float, column: float
) -> tuple[int, int, int, int]:
    """torchvision's RandomResizedCrop: the first of ten shapes that fits, else the largest allowed one, centred."""
    logs = (math.log(_RATIO[0]), math.log(_RATIO[1]))
    for share, shape in tries:
        area = width * height * _between(scale, share)
        ratio = math.exp(_between(logs, shape))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(row * (height - h + 1)), int(column * (width - w + 1)), h, w
    w, h = width, height
    if width / height < _RATIO[0]:
        h = round(width / _RATIO[0])
    elif width / height > _RATIO[1]:
        w = round(height * _RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w


def _between(span: tuple[float, float], u: float) -> float:
    return span[0] + (span[1] - span[0]) * u
