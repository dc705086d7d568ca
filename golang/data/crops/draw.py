"""The parameters of one crop's augmentation, as published (SwAV's, arXiv 2006.09882).

Drawing is apart from applying, so that what happens to a view is a plain record which tests can count and every
pipeline applies alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from golang.config import Augment

_RATIO = (3 / 4, 4 / 3)  # width over height of a crop
_TRIES = 10
_DRAWS = 2 * _TRIES + 2 + 1 + 1 + 4 + 4 + 1 + 1 + 1
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # as Color counts
NEUTRAL = (1.0, 1.0, 1.0, 0.0)  # the factors of Color that change nothing


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
    rng: np.random.Generator, width: int, height: int, scale: tuple[float, float], settings: Augment
) -> ViewParameters:
    """Parameters of one view of a `width` × `height` image, of which it covers a share within `scale`. Every call takes
    the same draws, used or not: a view's blur does not depend on how many tries its crop took."""
    u = iter(rng.random(_DRAWS).tolist())  # floats in [0, 1)
    box = _box(width, height, scale, [(next(u), next(u)) for _ in range(_TRIES)], next(u), next(u))
    flip = next(u) < settings.flip_probability
    colored = next(u) < settings.color_probability
    spans = [(max(0.0, 1.0 - x), 1.0 + x) for x in (settings.brightness, settings.contrast, settings.saturation)]
    factors = tuple(_between(span, next(u)) for span in (*spans, (-settings.hue, settings.hue)))
    keys = [next(u) for _ in factors]
    order = tuple(sorted(range(len(keys)), key=keys.__getitem__))  # sorting by noise: all orders are equally likely
    gray = next(u) < settings.gray_probability
    blurred = next(u) < settings.blur_probability
    radius = _between(settings.blur_radius, next(u))
    return ViewParameters(box, flip, Color(order, factors) if colored else None, gray, radius if blurred else None)


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
