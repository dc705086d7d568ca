"""Resizing, normalising, and flip, colour jitter, grayscale and blur for batches, with torch where the crops lie.

The arithmetic is Pillow's, rounding included, so that levels agree with `golang.data.crops.pillow` (see
docs/performance.md). No operation depends on a value on the device: nothing waits, and shapes never change. None adds
up by atomics, so all of it is deterministic as it is (matrix products on a GPU, under torch's deterministic mode).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from golang.data.crops.draw import CONTRAST, HUE, NEUTRAL, SATURATION, ViewParameters

MEAN = (0.485, 0.456, 0.406)
STD = (0.228, 0.224, 0.225)  # .228, not ImageNet's usual .229: the published code's value

# Columns of packed parameters.
_FLIP, _ORDER, _FACTORS, _GRAY, _BOX = 0, slice(1, 5), slice(5, 9), 9, 10
COLUMNS = 11
_NO_COLOR = (0, 1, 2, 3, *NEUTRAL)
_BOXES = 3  # Pillow's Gaussian is three extended boxes in a row


def resized(image: Tensor, parameters: ViewParameters, size: int) -> Tensor:
    """A view's box of uint8 [1, 3, H, W] (see `golang.data.pixels`) as uint8 [3, size, size], antialiased: Pillow's
    within a level, in a third of its time."""
    top, left, height, width = parameters.box
    # Copied in the image's own layout: torch's kernel is faster on it, and its result lies as OpenCV wants it.
    part = image[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.interpolate(part, (size, size), mode="bilinear", antialias=True)[0]


def pack(parameters: ViewParameters) -> list[float]:
    """What `adjust` needs of a view's parameters: COLUMNS numbers."""
    color = parameters.color
    colored = _NO_COLOR if color is None else (*color.order, *color.factors)
    return [float(parameters.flip), *colored, float(parameters.gray), box_radius(parameters.blur_radius or 0.0)]


def adjust(crops: Tensor, packed: Tensor) -> Tensor:
    """Crops uint8 [R, 3, s, s] under packed parameters float32 [R, COLUMNS] on the same device, as uint8 [R, 3, s, s].
    Differs from Pillow's by the rounding between a blur's passes, and by single levels of a turned hue."""
    columns = packed.view(-1, COLUMNS, 1, 1, 1).unbind(1)
    levels = torch.where(columns[_FLIP] > 0, crops.flip(-1), crops).float()
    levels = _colored(levels, columns[_ORDER], columns[_FACTORS])
    levels = torch.where(columns[_GRAY] > 0, _gray(levels), levels)
    return _blurred(levels, packed[:, _BOX]).to(torch.uint8)


def _colored(levels: Tensor, order: tuple[Tensor, ...], factors: tuple[Tensor, ...]) -> Tensor:
    """The four adjustments in each crop's own order. Three of them are blends, by one formula: those before the hue's
    turn, then those after it. Each place is worked out for every crop and changes those that have a blend there."""
    hue_place = sum((place * (kind == HUE) for place, kind in enumerate(order)), torch.zeros_like(order[0]))
    for place in range(3):
        levels = _blend(levels, order[place], factors, place < hue_place)
    levels = torch.where(factors[HUE] != 0, _turned(levels, factors[HUE]), levels)
    for place in range(1, 4):
        levels = _blend(levels, order[place], factors, place > hue_place)
    return levels


def _blend(levels: Tensor, kind: Tensor, factors: tuple[Tensor, ...], active: Tensor) -> Tensor:
    """Away from black (brightness), the mean luma (contrast) or the luma (saturation), by a factor."""
    factor = torch.ones_like(kind)
    for index, value in enumerate(factors[:HUE]):
        factor = torch.where(active & (kind == index), value, factor)
    gray = _gray(levels)
    mean = (gray.mean((2, 3), keepdim=True) + 0.5).floor_()
    base = torch.where(kind == SATURATION, gray, mean * (kind == CONTRAST))
    return (levels - base).mul_(factor).add_(base).clamp_(0, 255).floor_()


def _gray(levels: Tensor) -> Tensor:
    """Luma [R, 1, s, s] in Pillow's fixed point, which fp32 holds exactly."""
    red, green, blue = levels.split(1, dim=1)
    luma: Tensor = red * 19595 + green * 38470 + blue * 7471
    return luma.add_(32768).div_(65536).floor_()


def _turned(levels: Tensor, hue: Tensor) -> Tensor:
    """The hue turned by a share of the colour circle, through HSV of 8 bits a channel."""
    red, green, blue = levels.split(1, dim=1)
    top, bottom = levels.amax(1, keepdim=True), levels.amin(1, keepdim=True)
    chroma = top - bottom
    span = chroma.clamp(min=1)
    sector = torch.where(top == green, 2 + (blue - red) / span, 4 + (red - green) / span)
    sector = torch.where(top == red, (green - blue) / span, sector)
    angle = (sector / 6).add_(1).remainder_(1).mul_(255).floor_()
    saturation = (chroma / top.clamp(min=1)).mul_(255).floor_().div_(255)
    angle = (angle + (hue * 255).trunc()).remainder_(256).mul_(6 / 255)
    # Sector by sector a channel keeps the value, falls, lies at the bottom or rises: one trapezium, shifted.
    places = torch.cat([angle + 5, angle + 3, angle + 1], dim=1).remainder_(6)
    depth = torch.minimum(places, 4 - places).clamp_(0, 1)
    return (top - top * saturation * depth).add_(0.5).floor_()


def _blurred(levels: Tensor, boxes: Tensor) -> Tensor:
    """A Gaussian as Pillow approximates it, by boxes of radius `boxes` [R]; radius 0 leaves a crop as it is. The rows
    and columns of each go through a matrix of its own: three boxes, edges repeated, multiplied out."""
    box = boxes[:, None, None]
    size = levels.shape[-1]
    place = torch.arange(size, device=levels.device, dtype=levels.dtype)
    weights = (box + 1 - (place[:, None] - place).abs()).clamp_(min=0)
    # Unclamped, the first and the last column hold the sum of all that lies beyond the edge too.
    weights[:, :, 1:-1].clamp_(max=1)
    blur = torch.linalg.matrix_power(weights / (2 * box + 1), _BOXES)
    across = levels.flatten(1, 2) @ blur.mT
    down: Tensor = blur[:, None] @ across.view_as(levels)
    return down.add_(0.5).floor_().clamp_(0, 255)


def box_radius(radius: float) -> float:
    """The radius of the extended box (fractional ends) whose threefold blur has a Gaussian's variance (Gwosdek et al.
    2011, "Theoretical Foundations of Gaussian Convolution by Extended Box Filtering")."""
    variance = radius * radius / _BOXES
    whole = math.floor(math.sqrt(12 * variance + 1) / 2 - 0.5)
    ends = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + ends


def normalise(crops: Tensor, dtype: torch.dtype) -> Tensor:
    """(crops / 255 − MEAN) / STD of uint8 [..., 3, s, s] on its device, worked out in at least fp32 and returned as
    `dtype`. Four dimensions come back channels_last, which convolutions run faster on."""
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
