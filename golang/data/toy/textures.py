"""Backgrounds of generated scenes, all of one histogram of brightness, in colours that tell nothing of the scene."""

from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Array = np.ndarray[Any, Any]
UNIT = 64  # pixels a side at which widths of rims, shadows, blurs and lines are given
LUMA = (0.299, 0.587, 0.114)  # what red, green and blue add to luminance


def random_color(rng: np.random.Generator, saturation: float, luminance: tuple[float, float]) -> Array:
    """Any hue, saturation up to a bound, luminance within bounds: float32 [3] from 0 to 1."""
    color = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, saturation), 1.0)
    target, luma = rng.uniform(*luminance), sum(weight * value for weight, value in zip(LUMA, color, strict=True))
    if luma >= target:
        return np.array([value * target / luma for value in color], np.float32)
    white = (target - luma) / (1 - luma)
    return np.array([value + (1 - value) * white for value in color], np.float32)


def background(rng: np.random.Generator, texture: int, size: int) -> Array:
    """float32 [size, size, 3] from 0 to 1: a texture between two colours of one lightness ± a contrast."""
    field = _equalised(rng, TEXTURES[texture](rng, size))
    middle, contrast = rng.uniform(0.3, 0.4), rng.uniform(0.1, 0.2)
    dark, light = (random_color(rng, 0.35, (level, level)) for level in (middle - contrast, middle + contrast))
    return np.asarray(dark + field[..., None] * (light - dark))


def _equalised(rng: np.random.Generator, field: Array) -> Array:
    """`field` with its values replaced by a function of their ranks, 0 to 1, so that all textures share one histogram
    (more of the extremes than of the middle, or stripes would look like waves). Flat areas have no order of their own
    and get one from blurred noise; unblurred, it would look like salt."""
    size = len(field)
    grain = Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).filter(ImageFilter.GaussianBlur(size / UNIT))
    low, high = float(field.min()), float(field.max())
    mixed = (field - low) / max(high - low, 1e-6) + np.asarray(grain) * np.float32(0.15 / 255)
    # 16 bits and a stable sort: the same order on every processor.
    order = np.argsort((mixed * 50_000).astype(np.uint16), axis=None, kind="stable")
    ranks = np.empty(size * size, np.float32)
    ranks[order] = _levels(size * size)
    return ranks.reshape(size, size)


@functools.lru_cache(maxsize=4)
def _levels(pixels: int) -> Array:
    """The histogram of every background: that many values from 0 to 1, ascending."""
    return (0.5 - 0.5 * np.cos(np.linspace(0, math.pi, pixels))).astype(np.float32)


@functools.lru_cache(maxsize=4)
def grid(size: int) -> tuple[Array, Array]:
    """x and y of every pixel's centre, each float32 [size, size] from -.5 to .5."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = np.meshgrid(line, line)
    return x, y


def turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _gradient(rng: np.random.Generator, size: int) -> Array:
    x, y = turned(*grid(size), rng.uniform(0, 2 * math.pi))
    return x + np.float32(rng.uniform(-0.8, 0.8)) * y * y


def _stripes(rng: np.random.Generator, size: int) -> Array:
    x, _ = turned(*grid(size), rng.uniform(0, math.pi))
    waves = np.sin(x * np.float32(2 * math.pi * rng.uniform(4, 10)) + np.float32(rng.uniform(0, 6.3)))
    return np.asarray(np.tanh(3 * waves))


def _checker(rng: np.random.Generator, size: int) -> Array:
    x, y = turned(*grid(size), rng.uniform(-0.6, 0.6))
    pitch = np.float32(math.pi * rng.uniform(6, 13))
    waves = np.sin(x * pitch + np.float32(rng.uniform(0, 6.3))) * np.sin(y * pitch + np.float32(rng.uniform(0, 6.3)))
    return np.asarray(np.tanh(8 * waves))


def _clouds(rng: np.random.Generator, size: int) -> Array:
    cells = int(rng.integers(4, 9))
    coarse = Image.fromarray(rng.random((cells, cells), np.float32))
    fine = Image.fromarray(rng.random((2 * cells, 2 * cells), np.float32))
    large, small = (np.asarray(i.resize((size, size), Image.Resampling.BICUBIC)) for i in (coarse, fine))
    return large + np.float32(0.4) * small


def _dots(rng: np.random.Generator, size: int) -> Array:
    x, y = turned(*grid(size), rng.uniform(0, math.pi))
    pitch = np.float32(rng.uniform(3.5, 6.5))
    u, v = x * pitch + np.float32(rng.random()), y * pitch + np.float32(rng.random())
    u, v = u - np.round(u), v - np.round(v)
    return np.asarray(np.float32(rng.choice((-1, 1))) * np.tanh(14 * (np.float32(0.34) - np.sqrt(u * u + v * v))))


def _scribbles(rng: np.random.Generator, size: int) -> Array:
    image = Image.new("L", (size, size), 128)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(10, 18))):
        points = rng.uniform(-0.2, 1.2, (3, 2)) * size
        width = max(1, round(rng.uniform(1, 2.6) * size / UNIT))
        draw.line([(float(x), float(y)) for x, y in points], fill=int(rng.choice((40, 215))), width=width)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.6 * size / UNIT)), np.float32)


TEXTURES: tuple[Callable[[np.random.Generator, int], Array], ...] = (
    _gradient, _stripes, _checker, _clouds, _dots, _scribbles,
)  # fmt: skip
