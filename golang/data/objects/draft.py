"""Objects as files say them, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golang.data.images import ImageSet
from golang.data.objects.masks import Shapes
from golang.data.objects.objects import Objects

SLACK = 1.0  # pixels past the border that rounding explains
_LEAST = 1e-3  # of a box's side within the image, in pixels


class Read(NamedTuple):
    """Objects that nothing is wrong with, and a sentence for each other, with its file and its id."""

    objects: Objects
    faults: list[str]


@dataclass
class Draft:
    """A objects in the order of their files, before they are judged.

    Attributes:
        images, sizes, ids: as of `Objects`.
        owners: int64 [A], the image that each is of; −1 for one that is not asked for.
        boxes: float64 [A, 4], x0, y0, x1, y1; NaN for what is no box.
        classes, ignored: as of `Objects`, [A].
        areas: float64 [A]; NaN for the box's own, or its mask's.
        source: the file, or the folder of files, that they are from.
        said: a file and an object in it by its number, in words.
        published: the set is a published one, whose few known oddities are passed over with a note.
        shapes: masks, [A], of no part where a file has none; None for boxes alone.
        flaws: what else is wrong, by number.
    """

    images: ImageSet
    sizes: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]
    source: Path
    said: Callable[[int], str]
    published: bool
    shapes: Shapes | None = None
    flaws: dict[int, str] = field(default_factory=dict)

    def judged(self) -> Read:
        """The objects of each image in order, those with a fault excluded.

        Of a published set, boxes without width or height and masks of less than three corners are excluded with a note,
        and boxes past the border are clipped with one; else they are faults. Less than SLACK past the border is
        nobody's fault.
        """
        good = self.owners >= 0
        faults: dict[int, str] = {}
        notes: list[str] = []
        for rows, words, mild, drops in (*self._boxes_wrong(), *self._shapes_wrong()):
            rows = rows[good[rows]]
            if not len(rows):
                continue
            if drops or not self.published:
                good[rows] = False
            if mild and self.published:
                what = "are passed over" if drops else "are clipped"
                first = int(rows[0])
                notes.append(f"{len(rows):,} objects of {self.source} {what}: {self.said(first)}: {words(first)}")
            else:
                faults.update((int(row), f"{self.said(int(row))}: {words(int(row))}") for row in rows)
        shapes = self._whole_shapes(good, notes)
        own = np.flatnonzero(good)
        own = own[np.argsort(self.owners[own], kind="stable")]
        counts = np.bincount(self.owners[own], minlength=len(self.images))
        objects = Objects(
            replace(self.images, notes=(*self.images.notes, *notes)), self.sizes, self.ids,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), self.boxes[own], self.classes[own],
            self.ignored[own], self._whole_areas(own, shapes), None if shapes is None else shapes.of(own),
        )  # fmt: skip
        return Read(objects, [faults[row] for row in sorted(faults)])

    def _boxes_wrong(self) -> Iterator[_Wrong]:
        sides = self.sizes[np.maximum(self.owners, 0)].astype(np.float64)
        start, stop = self.boxes[:, :2], self.boxes[:, 2:]
        numbers = np.isfinite(self.boxes).all(axis=1)
        yield _Wrong(np.flatnonzero(~numbers), lambda row: "it has no box of four numbers")
        with np.errstate(invalid="ignore"):  # infinite ones are found above
            spans = stop - start
            inside = np.minimum(stop, sides) - np.maximum(start, 0)
            past = np.maximum(-start, stop - sides).max(axis=1)
        yield _Wrong(np.flatnonzero(spans.min(axis=1) < 0), lambda row: f"{self._box(row)} has a negative side")
        yield _Wrong(np.flatnonzero(spans.min(axis=1) == 0), lambda row: f"{self._box(row)} is empty", mild=True)
        yield _Wrong(
            np.flatnonzero(inside.min(axis=1) < _LEAST), lambda row: f"{self._box(row)} lies outside {self._image(row)}"
        )
        yield _Wrong(
            np.flatnonzero(past > SLACK), lambda row: f"{self._box(row)} ends {past[row]:g} pixels outside "
            f"{self._image(row)}", mild=True, drops=False,
        )  # fmt: skip

    def _shapes_wrong(self) -> Iterator[_Wrong]:
        if self.shapes is not None:
            shapes, lengths = self.shapes, np.diff(self.shapes.starts)
            odd = np.concatenate([[0], np.cumsum((lengths < 6) | (lengths % 2 == 1))])
            rows = np.flatnonzero(~shapes.coded & (odd[shapes.last] > odd[shapes.first]))
            yield _Wrong(
                rows,
                lambda row: f"a polygon of its mask has {_points(shapes, row)}, not three points or more",
                mild=True,
            )
        yield _Wrong(np.array(sorted(self.flaws), dtype=np.int64), self.flaws.__getitem__)

    def _whole_shapes(self, good: npt.NDArray[np.bool_], notes: list[str]) -> Shapes | None:
        """The masks, if every object has one."""
        if self.shapes is None:
            return None
        without = np.flatnonzero(good & (self.shapes.first == self.shapes.last))
        if not len(without):
            return self.shapes
        if len(without) < int(good.sum()):
            first = self.said(int(without[0]))
            notes.append(f"{len(without):,} objects of {self.source} have no mask, so boxes alone are taken: {first}")
        return None

    def _whole_areas(self, own: npt.NDArray[np.int64], shapes: Shapes | None) -> npt.NDArray[np.float64]:
        areas = self.areas[own]
        for position in np.flatnonzero(np.isnan(areas)):
            box = self.boxes[own[position]]
            areas[position] = np.prod(box[2:] - box[:2]) if shapes is None else shapes.area(int(own[position]))
        return areas

    def _box(self, row: int) -> str:
        x, y, right, bottom = self.boxes[row]
        return f"its box x {x:g}, y {y:g}, width {right - x:g}, height {bottom - y:g}"

    def _image(self, row: int) -> str:
        width, height = self.sizes[self.owners[row]]
        return f"the image of {width} × {height}"


class _Wrong(NamedTuple):
    rows: npt.NDArray[np.int64]
    words: Callable[[int], str]  # of one of them
    mild: bool = False  # known of published sets
    drops: bool = True  # False: `Objects.of` mends it


def _points(shapes: Shapes, row: int) -> str:
    counts = (len(part) for part in shapes.parts(row))
    count = next(count for count in counts if count < 6 or count % 2)
    return f"{count // 2} points" if count % 2 == 0 else f"{count} numbers"


def whole_numbers(keys: Iterable[int | str]) -> npt.NDArray[np.int64]:
    """int64 [N], `keys` where all are whole numbers that fit; else 1, 2, …"""
    found = list(keys)
    if all(isinstance(key, int) and abs(key) < 2**62 for key in found):
        return np.array(found, dtype=np.int64)
    return np.arange(1, len(found) + 1)
