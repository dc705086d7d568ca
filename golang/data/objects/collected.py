"""Boxes and masks of a file in COCO's format, taken into flat arrays while the file is being parsed: Python's own lists
of COCO 2017's corners would fill 4 GB."""

from __future__ import annotations

import json
import re
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from golang.data.objects.masks import FIFTHS, Shapes, compressed
from golang.data.readers.coco import KEY, short

_ENOUGH = 2**20  # corners that are held as floats
_FAR = 2**20  # pixels; nothing that is further off is drawn any nearer
_DECODE = json.JSONDecoder().raw_decode  # json.loads asks of each of a million texts in which encoding it is
_NONE = (float("nan"),) * 4


class Collected:
    """As `golang.data.readers.coco.Collector`, whose arrays have a row an image or annotation, in the file's order."""

    def __init__(self) -> None:
        self.ids: list[object] = []  # of annotations, as the file has them
        self.boxed = False  # whether any annotation has a box, whatever is in it
        self.flaws: dict[int, str] = {}  # what is wrong with an annotation's mask, by its row
        self._sizes, self._boxes, self._areas = array("q"), array("d"), array("d")
        self._ignored, self._coded, self._drawn = bytearray(), bytearray(), 0
        self._lists: list[tuple[int, int] | None] = []  # which parts each list of polygons is; None: of anything else
        self._first, self._last = array("q"), array("q")
        self._starts, self._corners, self._values = array("q", [0]), array("d"), list[npt.NDArray[np.int32]]()
        self._runs: dict[int, tuple[object, int]] = {}  # size and pixels in all, of masks in run lengths
        self._held = 0  # values in self._values
        self._odd: list[npt.NDArray[np.int64]] = []  # which values were no finite numbers

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """int64 [images, 2], width and height; 0 where the file has none."""
        return np.array(self._sizes, dtype=np.int64).reshape(-1, 2)

    @property
    def boxes(self) -> npt.NDArray[np.float64]:
        """float64 [annotations, 4], x, y, width, height; NaN for what is no box."""
        return np.array(self._boxes, dtype=np.float64).reshape(-1, 4)

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """float64 [annotations]; NaN where the file has none."""
        return np.array(self._areas, dtype=np.float64)

    @property
    def ignored(self) -> npt.NDArray[np.bool_]:
        """bool [annotations]: crowds."""
        return np.frombuffer(bytes(self._ignored), dtype=np.bool_)

    def shapes(self) -> Shapes:
        """The masks, of no part where an annotation has none."""
        self._flush()
        values = np.concatenate(self._values) if self._values else np.zeros(0, dtype=np.int32)
        self._values = [values]
        first, last, starts = (np.array(rows, dtype=np.int64) for rows in (self._first, self._last, self._starts))
        return Shapes(np.frombuffer(bytes(self._coded), dtype=np.bool_), first, last, starts, values)

    def odd_corners(self) -> dict[int, str]:
        """What is wrong with polygons, by row: corners that are NaN or infinite."""
        self._flush()
        first, last = np.array(self._first, dtype=np.int64), np.array(self._last, dtype=np.int64)
        owners, counts = np.full(len(self._starts), -1), last - first
        own = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        owners[own] = np.repeat(np.arange(len(counts)), counts)
        values = np.concatenate([np.zeros(0, dtype=np.int64), *self._odd])
        rows = np.unique(owners[np.searchsorted(np.array(self._starts), values, side="right") - 1])
        return {row: "a corner of its mask is no finite number" for row in rows.tolist() if row >= 0}

    def repeats(self) -> dict[int, str]:
        """What is wrong with ids, by row: an earlier annotation has the same."""
        seen, found = set[object](), dict[int, str]()
        for row, key in enumerate(self.ids):
            if not isinstance(key, (int, float, str)):  # a file may do without
                continue
            if key in seen:
                found[row] = "an annotation before it has the same id"
            seen.add(key)
        return found

    def misfits(self, heights: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]) -> dict[int, str]:
        """What is wrong with run lengths, by row, given the sizes of the images, int64 [annotations]."""
        found = {}
        for row, (size, pixels) in self._runs.items():
            height, width = int(heights[row]), int(widths[row])
            if size != [height, width]:
                found[row] = f"its mask is of size {size}, and the image's height and width are {[height, width]}"
            elif pixels != height * width:
                found[row] = f"its mask has {pixels:,} pixels, and the image {height * width:,}"
        return found

    def polygons(self, match: re.Match[bytes]) -> bytes:
        text = match[1].decode("ascii")
        try:
            lists, end = _DECODE(text)
        except ValueError:  # the list goes on with what is no number
            return match[0]
        if end < len(text):
            raise ValueError(f"a list of polygons with more brackets closed than opened: {text[-80:]}")
        self._lists.append(self._parts(lists))
        return KEY + b"%d" % (len(self._lists) - 1)

    def image(self, entry: dict[str, Any]) -> None:
        sides = entry.get("width"), entry.get("height")
        whole = all(isinstance(side, (int, float)) and side == side // 1 and 0 < side < 2**31 for side in sides)
        self._sizes.extend(map(int, sides) if whole else (0, 0))  # type: ignore[arg-type]

    def annotation(self, entry: dict[str, Any]) -> None:
        row = len(self.ids)
        self.ids.append(entry.get("id"))
        try:
            x, y, width, height = entry["bbox"]
            self._boxes.extend((x, y, width, height))
            self.boxed = True
        except (KeyError, TypeError, ValueError, OverflowError):
            del self._boxes[4 * row :]
            self._boxes.extend(_NONE)
            self.boxed |= bool(entry.get("bbox"))
        area = entry.get("area")
        self._areas.append(area if isinstance(area, (int, float)) and 0 <= area < 2**60 else np.nan)
        crowd = entry.get("iscrowd")
        self._ignored.append(crowd in (1, "1"))
        if crowd not in (0, 1, "0", "1", None):
            self.flaws[row] = f"its iscrowd is {short(crowd)}, neither 0 nor 1"
        first, last = self._shape(row, entry.get("segmentation"))
        self._first.append(first)
        self._last.append(last)

    def _shape(self, row: int, value: object) -> tuple[int, int]:
        """The parts of an annotation's mask, from and to."""
        parts: tuple[int, int] | None = (0, 0)
        if isinstance(value, dict):
            return self._coded_shape(row, value)
        if type(value) is int and self._drawn <= value < len(self._lists):  # what `polygons` put in a list's place
            self._drawn, parts = value + 1, self._lists[value]
        elif value is not None:
            parts = self._parts(value)
        if parts is None:
            self.flaws[row] = "its segmentation is neither a list of polygons nor run lengths"
        self._coded.append(False)
        return parts or (0, 0)

    def _coded_shape(self, row: int, value: dict[str, Any]) -> tuple[int, int]:
        counts = value.get("counts")
        try:
            runs = compressed(counts) if isinstance(counts, str) else np.array(counts, dtype=np.int64)
            if runs.ndim != 1 or not len(runs) or runs.min() < 0 or runs.max() >= 2**31:
                raise ValueError("are no run lengths")
        except (TypeError, ValueError, OverflowError):
            self.flaws[row] = "the counts of its segmentation are no run lengths"
            runs = np.zeros(0, dtype=np.int64)
        else:
            self._runs[row] = value.get("size"), int(runs.sum())
        self._flush()
        self._keep(runs.astype(np.int32))
        self._starts.append(self._held)
        self._coded.append(True)
        return len(self._starts) - 2, len(self._starts) - 1

    def _parts(self, lists: object) -> tuple[int, int] | None:
        """Takes a list of polygons, and says which parts they are; None for anything else, of which nothing is kept."""
        if not isinstance(lists, list):
            return None
        first = len(self._starts) - 1
        begun = len(self._corners)
        try:
            for corners in lists:
                if not isinstance(corners, list):
                    raise TypeError
                self._corners.extend(corners)
                self._starts.append(self._held + len(self._corners))
        except (TypeError, OverflowError):
            del self._corners[begun:], self._starts[first + 1 :]
            return None
        if len(self._corners) > _ENOUGH:
            self._flush()
        return first, len(self._starts) - 1

    def _flush(self) -> None:
        """Rounds the corners that are held as COCO's rule does: 5 · x + .5, cut towards zero."""
        if self._corners:
            said = np.frombuffer(self._corners)
            self._odd.append(self._held + np.flatnonzero(~np.isfinite(said)))
            corners = np.clip(np.nan_to_num(said), -_FAR, _FAR)
            self._keep((FIFTHS * corners + 0.5).astype(np.int32))
            self._corners = array("d")

    def _keep(self, values: npt.NDArray[np.int32]) -> None:
        self._values.append(values)
        self._held += len(values)
