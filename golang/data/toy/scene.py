"""One generated scene: a few glyphs on a textured background, and the truth about what can be seen of them.

A scene is a pure function of (set, split, index), so any process can draw any image in any order. What makes the set
worth learning from: a class is a shape, and little else tells it. Objects are lighter than the background and of any
hue, glyphs of little ink are drawn larger, and every kind of background has the same histogram of brightness. Things
do belong together, though: an image is of one *scene*, which most of its objects and often its texture come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from golang.config import Toy
from golang.data.toy import glyphs
from golang.data.toy.textures import TEXTURES, UNIT, Array, background, grid, random_color, turned
from golang.randomness import Purpose, generator

Split = Literal["train2017", "val2017"]
SPLITS: tuple[Split, ...] = ("train2017", "val2017")
_Part = tuple[slice, slice]  # rows and columns
LABELLED = 0.25  # share of the whole glyph that must be visible
CLASSES_PER_SCENE = 5
FROM_SCENE = 0.85  # chance that an object belongs to the image's scene
OWN_TEXTURE = 0.8  # chance that the background is one of the scene's two textures
REPEAT = 0.2  # chance that a further object shows a class again
DRIFT = 0.18  # standard deviation of the middle of a group of objects, in image sides: some lie half outside
SCATTER = 0.15  # and of the objects around it: some hide others


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
    """The scene at `index` of a split. Raises DataError where glyphs cannot be drawn."""
    rng = generator(spec.seed, Purpose.SCENE, SPLITS.index(split), index)
    shapes = glyphs.load(spec.classes, glyphs.SIDE * max(1, math.ceil(spec.size / (2 * glyphs.SIDE))))
    number = int(rng.integers(count(spec.classes)))
    own = textures_of(number)
    texture = own[rng.integers(2)] if rng.random() < OWN_TEXTURE else rng.integers(len(TEXTURES))
    canvas = background(rng, int(texture), spec.size)
    owner = np.full((spec.size, spec.size), -1, np.int16)
    categories = _cast(rng, number, spec.classes)
    wholes = []
    middle = rng.normal(0.5, DRIFT, 2)
    for position, category in enumerate(categories):
        glyph = shapes[category][rng.integers(len(shapes[category]))]
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
    color = random_color(rng, saturation=0.6, luminance=(0.75, 0.9))
    if rng.random() < 0.3:  # a shadow, too faint to hide anything
        shadow = np.asarray(sharp.filter(ImageFilter.GaussianBlur(1.4 * unit)))
        dx, dy = (round(rng.uniform(1.5, 3.0) * unit) for _ in range(2))
        part, below = _overlap(left + dx, top + dy, window, size)
        canvas[below] *= 1 - 0.6 * _alpha(shadow[part])
    fill = color * _hatching(rng, there, size) if rng.random() < 0.2 else color
    for mask, paint in ((edge, 0.1 * color), (body, fill)):
        canvas[there] += _alpha(mask[seen]) * (paint - canvas[there])
    return int(whole.sum())


def _warp(rng: np.random.Generator, side: float) -> tuple[tuple[float, float, float, float], tuple[float, float]]:
    """The inverse (by rows) of a random linear map from the unit square around 0 to pixels, of determinant side², and
    how far the square's image reaches from its centre along x and y."""
    angle, aspect, shear = (rng.standard_normal(3) * (math.radians(10), 0.1, 0.1)).tolist()
    cos, sin, wide = math.cos(angle), math.sin(angle), math.exp(aspect / 2)
    a, b = cos * wide, cos * shear - sin / wide
    c, d = sin * wide, sin * shear + cos / wide
    reach = (side * (abs(a) + abs(b)) / 2, side * (abs(c) + abs(d)) / 2)
    return (d / side, -b / side, -c / side, a / side), reach


def _overlap(left: int, top: int, window: tuple[int, int], size: int) -> tuple[_Part, _Part]:
    """The part of a window (width, height) that lies in the image, in the window and in the image."""
    starts = (max(0, top), max(0, left))
    stops = (max(starts[0], min(size, top + window[1])), max(starts[1], min(size, left + window[0])))
    inner = (slice(starts[0] - top, stops[0] - top), slice(starts[1] - left, stops[1] - left))
    return inner, (slice(starts[0], stops[0]), slice(starts[1], stops[1]))


def _alpha(mask: Array) -> Array:
    """An 8-bit mask [h, w] as float32 [h, w, 1] from 0 to 1."""
    return mask.astype(np.float32)[..., None] * np.float32(1 / 255)


def _hatching(rng: np.random.Generator, there: _Part, size: int) -> Array:
    """Stripes of .8 and 1 across a part of the image, float32 [h, w, 1]."""
    x, y = grid(size)
    along = turned(x[there], y[there], rng.uniform(0, math.pi))[0]
    wave = np.sin(along * (2 * math.pi * rng.uniform(11, 18)) + rng.uniform(0, 2 * math.pi))
    return np.asarray(0.9 + 0.1 * np.tanh(3 * wave), np.float32)[..., None]
