"""One generated scene: a few glyphs on a textured background, and the truth about what can be seen of them.

A scene is a pure function of (set, split, index), so any process can draw any image in any order. What makes the set
worth learning from: a class is a shape, and little else tells it. Objects are lighter than the background and of any
hue, glyphs of little ink are drawn larger, and every kind of background has the same histogram of brightness. Things
do belong together, though: an image is of one *scene*, which most of its objects and often its texture come from.
"""

from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from golang.config import Toy
from golang.data.toy import glyphs
from golang.randomness import Purpose, generator

Split = Literal["train2017", "val2017"]
SPLITS: tuple[Split, ...] = ("train2017", "val2017")

Array = np.ndarray[Any, Any]

LABELLED = 0.25  # share of the whole glyph that must be visible
CLASSES_PER_SCENE = 5
FROM_SCENE = 0.85  # chance that an object belongs to the image's scene
OWN_TEXTURE = 0.8  # chance that the background is one of the scene's two textures
REPEAT = 0.2  # chance that a further object shows a class again
DRIFT = 0.18  # standard deviation of the middle of a group of objects, in image sides: some lie half outside
SCATTER = 0.15  # and of the objects around it: some hide others
UNIT = 64  # pixels a side at which widths of rims, shadows and blurs are given
LUMA = (0.299, 0.587, 0.114)  # what red, green and blue add to luminance


@dataclass(frozen=True)
class Thing:
    """An object of a scene. Box and area are those of its visible pixels; both are 0 if there are none."""

    category: int  # position in glyphs.NAMES
    bbox: tuple[int, int, int, int]  # x, y, width, height in whole pixels
    area: int  # pixels
    visible: float  # share of the whole glyph, 0 to 1; the rest lies outside the image or behind others

    @property
    def labelled(self) -> bool:
        return self.area > 0 and self.visible >= LABELLED


@dataclass(frozen=True)
class Scene:
    image: Array  # uint8 [size, size, 3]
    owner: Array  # int16 [size, size]: the object seen at each pixel (position in things), -1 for none
    things: tuple[Thing, ...]  # back to front
    number: int  # which scene the image is of


def count(classes: int) -> int:
    """How many scenes that many classes make: about five classes each."""
    return max(1, round(classes / CLASSES_PER_SCENE))


def of_class(category: int, classes: int) -> int:
    """The scene that a class belongs to."""
    return category * count(classes) // classes


def textures_of(number: int) -> tuple[int, int]:
    """The two textures of a scene (positions in TEXTURES); different pairs for the first nine scenes."""
    first = 2 * (number % 3)
    return first, (first + 1 + 2 * (number // 3)) % len(TEXTURES)


def render(spec: Toy, split: Split, index: int) -> Scene:
    """The scene at `index` of a split.

    Raises ConfigError for more classes than there are glyphs, DataError where they cannot be drawn.
    """
    rng = generator(spec.seed, Purpose.SCENE, SPLITS.index(split), index)
    shapes = glyphs.load(spec.classes, glyphs.SIDE * max(1, math.ceil(spec.size / (2 * glyphs.SIDE))))
    number = int(rng.integers(count(spec.classes)))
    own = textures_of(number)
    texture = own[rng.integers(2)] if rng.random() < OWN_TEXTURE else rng.integers(len(TEXTURES))
    canvas = _background(rng, int(texture), spec.size)
    owner = np.full((spec.size, spec.size), -1, np.int16)
    categories = _cast(rng, number, spec.classes)
    wholes = []
    middle = rng.normal(0.5, DRIFT, 2)
    for position, category in enumerate(categories):
        variants = shapes[category]
        glyph = variants[rng.integers(len(variants))]
        center = spec.size * (middle + rng.normal(0, SCATTER, 2))
        wholes.append(_paint(rng, glyph, center.tolist(), canvas, owner, position))
    things = tuple(_thing(owner, position, *pair) for position, pair in enumerate(zip(categories, wholes, strict=True)))
    return Scene(np.clip(canvas * 255 + 0.5, 0, 255).astype(np.uint8), owner, things, number)


def _cast(rng: np.random.Generator, number: int, classes: int) -> list[int]:
    """The classes of an image's objects, back to front."""
    inside = [category for category in range(classes) if of_class(category, classes) == number]
    outside = [category for category in range(classes) if category not in inside]
    chosen: list[int] = []
    for _ in range(1 + min(4, int(rng.poisson(1.3)))):
        if chosen and rng.random() < REPEAT:
            chosen.append(chosen[rng.integers(len(chosen))])
            continue
        pool = inside if rng.random() < FROM_SCENE or not outside else outside
        unseen = [category for category in pool if category not in chosen] or pool
        chosen.append(unseen[rng.integers(len(unseen))])
    return chosen


def _thing(owner: Array, position: int, category: int, whole: int) -> Thing:
    """What `owner` shows of one object, whose whole glyph covers `whole` pixels."""
    rows, columns = np.nonzero(owner == position)
    if not len(rows):
        return Thing(category, (0, 0, 0, 0), 0, 0.0)
    x, y = int(columns.min()), int(rows.min())
    bbox = (x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)
    return Thing(category, bbox, len(rows), len(rows) / whole)


# --- objects -----------------------------------------------------------------------------------------------------


def _paint(
    rng: np.random.Generator, glyph: glyphs.Glyph, center: list[float], canvas: Array, owner: Array, position: int
) -> int:
    """Paints a glyph somewhere on `canvas` and enters it in `owner`. Returns the pixels of the whole glyph, those
    outside the image included."""
    size = len(canvas)
    unit = size / UNIT
    side = size * glyph.scale * glyphs.FRAME * math.exp(rng.uniform(math.log(0.42), math.log(0.72)))
    (a, b, c, d), reach = _warp(rng, side)
    # A window around the whole glyph, in image pixels; it may stick out of the image.
    pad = math.ceil(4 * unit)
    left, top = (math.floor(center[axis] - reach[axis]) - pad for axis in (0, 1))
    window = (math.ceil(2 * reach[0]) + 2 * pad + 1, math.ceil(2 * reach[1]) + 2 * pad + 1)
    source = glyph.level(side)
    a, b, c, d = (source.width * entry for entry in (a, b, c, d))
    x, y, middle = left - center[0], top - center[1], source.width / 2
    data = (a, b, a * x + b * y + middle, c, d, c * x + d * y + middle)
    sharp = source.transform(window, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    rim = sharp.filter(ImageFilter.GaussianBlur(1.1 * unit))
    for _ in range(2):  # four times as steep: the glyph grown by a rim
        rim = ImageChops.add(rim, rim)

    body, edge = np.asarray(sharp), np.asarray(rim)
    whole = body >= 128
    seen, there = _overlap(left, top, window, size)
    owner[there][edge[seen] >= 128] = -1
    owner[there][whole[seen]] = position

    if rng.random() < 0.3:  # out of focus
        focus = ImageFilter.GaussianBlur(rng.uniform(0.6, 1.1) * unit)
        body, edge = np.asarray(sharp.filter(focus)), np.asarray(rim.filter(focus))
    color = _color(rng, saturation=0.6, luminance=(0.75, 0.9))
    if rng.random() < 0.3:  # a shadow, too faint to hide anything
        shadow = np.asarray(sharp.filter(ImageFilter.GaussianBlur(1.4 * unit)))
        dx, dy = (round(rng.uniform(1.5, 3.0) * unit) for _ in range(2))
        part, below = _overlap(left + dx, top + dy, window, size)
        canvas[below] *= 1 - 0.6 * _alpha(shadow[part])
    fill: Array = color
    if rng.random() < 0.2:  # textured
        fill = color * _hatching(rng, there, size)
    for mask, paint in ((edge, 0.1 * color), (body, fill)):
        canvas[there] += _alpha(mask[seen]) * (paint - canvas[there])
    return int(whole.sum())


def _warp(rng: np.random.Generator, side: float) -> tuple[tuple[float, float, float, float], tuple[float, float]]:
    """A random linear map from the unit square around 0 to pixels, of determinant side².

    Returns its inverse (by rows), and how far the square's image reaches from its centre along x and y.
    """
    angle, aspect, shear = (rng.standard_normal(3) * (math.radians(10), 0.1, 0.1)).tolist()
    cos, sin, wide = math.cos(angle), math.sin(angle), math.exp(aspect / 2)
    a, b = cos * wide, cos * shear - sin / wide
    c, d = sin * wide, sin * shear + cos / wide
    reach = (side * (abs(a) + abs(b)) / 2, side * (abs(c) + abs(d)) / 2)
    return (d / side, -b / side, -c / side, a / side), reach


def _overlap(
    left: int, top: int, window: tuple[int, int], size: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a window (width, height) that lies in the image: as slices (rows, columns) of the window and of
    the image."""
    starts = (max(0, top), max(0, left))
    stops = (max(starts[0], min(size, top + window[1])), max(starts[1], min(size, left + window[0])))
    inner = (slice(starts[0] - top, stops[0] - top), slice(starts[1] - left, stops[1] - left))
    return inner, (slice(starts[0], stops[0]), slice(starts[1], stops[1]))


def _alpha(mask: Array) -> Array:
    """An 8-bit mask [h, w] as float32 [h, w, 1] from 0 to 1."""
    return mask.astype(np.float32)[..., None] * np.float32(1 / 255)


def _hatching(rng: np.random.Generator, there: tuple[slice, slice], size: int) -> Array:
    """Stripes of .8 and 1 across a part of the image, float32 [h, w, 1]."""
    x, y = _grid(size)
    along = _turned(x[there], y[there], rng.uniform(0, math.pi))[0]
    wave = np.sin(along * (2 * math.pi * rng.uniform(11, 18)) + rng.uniform(0, 2 * math.pi))
    stripes: Array = (0.9 + 0.1 * np.tanh(3 * wave))[..., None].astype(np.float32)
    return stripes


def _color(rng: np.random.Generator, saturation: float, luminance: tuple[float, float]) -> Array:
    """Any hue, saturation up to a bound, luminance within bounds: float32 [3] from 0 to 1."""
    color = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, saturation), 1.0)
    target, luma = rng.uniform(*luminance), sum(weight * value for weight, value in zip(LUMA, color, strict=True))
    if luma >= target:
        return np.array([value * target / luma for value in color], np.float32)
    white = (target - luma) / (1 - luma)
    return np.array([value + (1 - value) * white for value in color], np.float32)


# --- backgrounds ---------------------------------------------------------------------------------------------------


def _background(rng: np.random.Generator, texture: int, size: int) -> Array:
    """float32 [size, size, 3] from 0 to 1: a texture between two colours of one lightness ± a contrast."""
    field = _equalised(rng, TEXTURES[texture](rng, size))
    middle, contrast = rng.uniform(0.3, 0.4), rng.uniform(0.1, 0.2)
    dark = _color(rng, 0.35, (middle - contrast, middle - contrast))
    light = _color(rng, 0.35, (middle + contrast, middle + contrast))
    colored: Array = dark + field[..., None] * (light - dark)
    return colored


def _equalised(rng: np.random.Generator, field: Array) -> Array:
    """`field` with its values replaced by a function of their ranks, 0 to 1, so that all textures share one histogram
    (more of the extremes than of the middle, or stripes would look like waves).

    Flat areas have no order of their own and get one from blurred noise; unblurred, it would look like salt.
    """
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
    levels: Array = (0.5 - 0.5 * np.cos(np.linspace(0, math.pi, pixels))).astype(np.float32)
    return levels


@functools.lru_cache(maxsize=4)
def _grid(size: int) -> tuple[Array, Array]:
    """x and y of every pixel's centre, each float32 [size, size] from -.5 to .5."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = np.meshgrid(line, line)
    return x, y


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _gradient(rng: np.random.Generator, size: int) -> Array:
    x, y = _turned(*_grid(size), rng.uniform(0, 2 * math.pi))
    field: Array = x + np.float32(rng.uniform(-0.8, 0.8)) * y * y
    return field


def _stripes(rng: np.random.Generator, size: int) -> Array:
    x, _ = _turned(*_grid(size), rng.uniform(0, math.pi))
    field: Array = np.tanh(
        3 * np.sin(x * np.float32(2 * math.pi * rng.uniform(4, 10)) + np.float32(rng.uniform(0, 6.3)))
    )
    return field


def _checker(rng: np.random.Generator, size: int) -> Array:
    x, y = _turned(*_grid(size), rng.uniform(-0.6, 0.6))
    pitch = np.float32(math.pi * rng.uniform(6, 13))
    waves = np.sin(x * pitch + np.float32(rng.uniform(0, 6.3))) * np.sin(y * pitch + np.float32(rng.uniform(0, 6.3)))
    field: Array = np.tanh(8 * waves)
    return field


def _clouds(rng: np.random.Generator, size: int) -> Array:
    cells = int(rng.integers(4, 9))
    coarse = Image.fromarray(rng.random((cells, cells), np.float32))
    fine = Image.fromarray(rng.random((2 * cells, 2 * cells), np.float32))
    large, small = (np.asarray(i.resize((size, size), Image.Resampling.BICUBIC)) for i in (coarse, fine))
    field: Array = large + np.float32(0.4) * small
    return field


def _dots(rng: np.random.Generator, size: int) -> Array:
    x, y = _turned(*_grid(size), rng.uniform(0, math.pi))
    pitch = np.float32(rng.uniform(3.5, 6.5))
    u, v = x * pitch + np.float32(rng.random()), y * pitch + np.float32(rng.random())
    u, v = u - np.round(u), v - np.round(v)
    field: Array = np.float32(rng.choice((-1, 1))) * np.tanh(14 * (np.float32(0.34) - np.sqrt(u * u + v * v)))
    return field


def _scribbles(rng: np.random.Generator, size: int) -> Array:
    image = Image.new("L", (size, size), 128)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(10, 18))):
        points = rng.uniform(-0.2, 1.2, (3, 2)) * size
        width = max(1, round(rng.uniform(1, 2.6) * size / UNIT))
        draw.line([(float(x), float(y)) for x, y in points], fill=int(rng.choice((40, 215))), width=width)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.6 * size / UNIT)), np.float32)


TEXTURES: tuple[Callable[[np.random.Generator, int], Array], ...] = (
    _gradient,
    _stripes,
    _checker,
    _clouds,
    _dots,
    _scribbles,
)
