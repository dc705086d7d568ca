"""Masks as files have them, polygons and run lengths, in flat arrays; made bool arrays one at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from golang.errors import DataError

FIFTHS = (
    5  # of a pixel: the grid that COCO's rule rounds corners to, so nothing of a mask is lost by keeping them on it
)


@dataclass(frozen=True, eq=False)
class Shapes:
    """The masks of M objects, each of one or more parts.

    Attributes:
        coded: bool [M], of one part, run lengths; else of polygons.
        first, last: int64 [M], parts first[i] to before last[i] are object i's.
        starts: int64 [P + 1], values starts[p] to before starts[p + 1] are part p's.
        values: int32 [V], corners x, y, x, y… in FIFTHS of a pixel; or how many pixels, column by column, are outside,
            then inside, then outside…
    """

    coded: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    values: npt.NDArray[np.int32]

    def of(self, own: npt.NDArray[np.int64]) -> Shapes:
        """Those of the objects `own`, int64 [n]; the parts are shared."""
        return replace(self, coded=self.coded[own], first=self.first[own], last=self.last[own])

    def parts(self, number: int) -> list[npt.NDArray[np.int32]]:
        """The values of each part of an object's mask."""
        span = range(int(self.first[number]), int(self.last[number]))
        return [self.values[self.starts[part] : self.starts[part + 1]] for part in span]

    def area(self, number: int) -> float:
        """What an object's mask covers, in pixels; polygons by their corners, also where they overlap."""
        if self.coded[number]:
            return float(self.parts(number)[0][1::2].sum())
        return sum(_area(part.reshape(-1, 2) / FIFTHS) for part in self.parts(number))

    def mask(self, number: int, height: int, width: int) -> npt.NDArray[np.bool_]:
        """An object's mask, bool [height, width]: for polygons the union of what COCO's rule fills. Raises DataError
        where polygons cannot be drawn."""
        if self.coded[number]:
            return filled(self.parts(number)[0], height, width)
        return drawn(self.parts(number), height, width)


def filled(counts: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The mask of run lengths, bool [height, width]; they must sum to height · width."""
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def compressed(text: str) -> npt.NDArray[np.int64]:
    """The run lengths, int64 [n], of COCO's compressed form: each number in characters from "0" on that hold five bits,
    the lowest first, and a sixth that says whether more follow; the last one's fifth bit is the sign. From the fourth
    number on they are differences from the one before the last. Raises ValueError for any other text."""
    digits = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if len(digits) == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("is no run-length code")
    ends = np.flatnonzero(digits & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("has a run longer than any image")
    shifts = 5 * (np.arange(len(digits)) - np.repeat(starts, lengths))
    values = np.add.reduceat((digits & 31) << shifts, starts)
    values -= np.where(digits[ends] & 16, np.int64(1) << (5 * lengths), 0)
    for parity in (1, 2):
        values[parity::2] = np.cumsum(values[parity::2])
    return values


def drawn(polygons: list[npt.NDArray[np.int32]], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The pixels that COCO's rule counts into any of the polygons, bool [height, width]. Raises DataError without
    faster-coco-eval, which knows the rule."""
    try:
        from faster_coco_eval.core import mask
    except ImportError as error:
        raise DataError("masks drawn as polygons need faster-coco-eval: pip install faster-coco-eval") from error
    # The rule takes 5 · x + .5, cut towards zero: what comes out is the same fifth again, also below zero.
    corners = [(np.where(one < 0, one - 0.7, one) / FIFTHS).tolist() for one in polygons]
    coded = mask.merge(mask.frPyObjects(corners, height, width))
    found: npt.NDArray[np.uint8] = mask.decode(coded)
    return found.astype(np.bool_)


def _area(corners: npt.NDArray[np.float64]) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = (corners - corners[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
