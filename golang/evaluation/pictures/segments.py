"""Maps of classes on images: what a network said of each pixel, beside what is there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang import drawing
from golang.data.objects.segments import IGNORED, Segments
from golang.evaluation.pictures.extremes import Pair, colors, extremes, sheet
from golang.evaluation.pictures.shared import save

Map = npt.NDArray[np.uint8] | npt.NDArray[np.int64]
NAMED = 5  # classes in a picture's legend, the largest first
_BACKGROUND = 0


def write(
    segments: Segments, points: npt.NDArray[np.float64], found: Callable[[int], Map], folder: Path
) -> list[Path]:  # fmt: skip
    """Draws to `folder` segments-worst.png and segments-best.png, ten images each by `points` [N], the mean IoU of each
    image, NaN for none. `found` says what was found in the image at a position, a map [height, width]. Returns what was
    written. Raises MissingMatplotlibError, and DataError for images that cannot be read."""
    written = []
    for name, images in zip(("worst", "best"), extremes(points), strict=True):
        if images:
            pairs = [_pair(segments, image, points[image], found(image)) for image in images]
            title = (
                f"The {len(pairs)} images with the {'lowest' if name == 'worst' else 'highest'} mean IoU.\n"
                "Left the truth (white: ignored), right what was found."
            )
            written.append(sheet(pairs, title, folder / f"segments-{name}.png"))
    return written


def draw(image: Image.Image, found: Map, classes: Sequence[str], path: Path) -> Path:
    """Draws an image under the map [height, width] that was found."""
    figure = drawing.figure(6.4, 6.4 * image.height / image.width + 0.4)
    axes = figure.add_subplot()
    axes.set_axis_off()
    _draw(np.asarray(image), found, colors(_classes(found)), classes, axes)
    return save(figure, path)


def _pair(segments: Segments, image: int, points: float, found: Map) -> Pair:
    pixels, truth = np.asarray(segments.load(image)), segments.of(image)
    palette = colors([*_classes(truth), *_classes(found)])
    title = f"IoU {points:.1f}  {Path(segments.images.name(image)).name}"
    return Pair(
        title, *(functools.partial(_draw, pixels, one, palette, segments.classes) for one in (truth, found))
    )  # fmt: skip


def _classes(one: Map) -> list[int]:
    """The classes of a map but the background, the largest first."""
    counts = np.bincount(one.ravel(), minlength=IGNORED + 1)
    counts[[_BACKGROUND, IGNORED]] = 0
    return [int(column) for column in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]]


def _draw(pixels: npt.NDArray[np.uint8], one: Map, palette: Mapping[int, str], names: Sequence[str], axes: Any) -> None:  # noqa: ANN401
    """On matplotlib's axes, the image in grey so that all colours are classes, with their names below."""
    rgb, patch = drawing.matplotlib("colors").to_rgb, drawing.matplotlib("patches").Patch
    gray = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    shown = np.repeat(gray[..., None], 3, axis=-1)
    present = _classes(one)
    for column in present:
        inside = one == column
        shown[inside] = 0.35 * shown[inside] + 0.65 * np.array(rgb(palette[column]), dtype=np.float32)
    shown[one == IGNORED] = 1.0
    axes.imshow(shown)
    if present:
        named = present[:NAMED]
        entries = [patch(color=palette[column], label=f" {names[column]}") for column in named]  # none begins with "_"
        legend = axes.legend(
            handles=entries, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=min(3, len(entries)), fontsize=6,
            frameon=False, handlelength=1.0, columnspacing=0.8, borderpad=0.1,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
