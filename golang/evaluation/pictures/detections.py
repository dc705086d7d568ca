"""Boxes and masks on images: what a detector found, beside what is there."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang import drawing
from golang.data.objects.objects import Objects
from golang.drawing import INK
from golang.evaluation.pictures.extremes import Pair, colors, extremes, sheet
from golang.evaluation.pictures.shared import save
from golang.evaluation.transfer.networks.types import Detections
from golang.evaluation.transfer.scores.matching import Flags, Matches
from golang.evaluation.transfer.scores.results import Results
from golang.evaluation.transfer.scores.voc import by_image

LEAST = 0.5  # score of a box that is shown; as many as there are objects are shown in any case
MOST = 20  # boxes on an image
RIGHT = 0.5  # IoU


class Drawn(NamedTuple):
    """n boxes on an image."""

    boxes: npt.NDArray[Any]  # [n, 4]
    columns: Sequence[int]  # classes
    words: Sequence[str]
    dashed: Flags  # [n]
    masks: npt.NDArray[np.bool_] | None  # [n, h, w]


def write(objects: Objects, results: Results, folder: Path) -> list[Path]:
    """Draws to `folder` detections-worst.png and detections-best.png, ten images each by the AP of their boxes. Returns
    what was written. Raises MissingMatplotlibError, and DataError for images that cannot be read."""
    points = by_image(objects, results)
    right, neither = Matches.of(objects, results).judged(RIGHT)
    written = []
    for name, images in zip(("worst", "best"), extremes(points), strict=True):
        if images:
            pairs = [_pair(objects, results, image, points[image], (right, neither)) for image in images]
            title = (
                f"The {len(pairs)} images whose boxes have the {'lowest' if name == 'worst' else 'highest'} AP.\n"
                f"Left the truth (dashed: ignored), right what was found (dashed: wrong at IoU {RIGHT})."
            )
            written.append(sheet(pairs, title, folder / f"detections-{name}.png"))
    return written


def draw(image: Image.Image, found: Detections, classes: Sequence[str], path: Path) -> Path:
    """Draws an image with what was found in it, the best first; at least one box, if there is any."""
    order = found.scores.cpu().numpy().argsort(kind="stable")[::-1]
    shown = order[: max(1, min(MOST, int((found.scores >= LEAST).sum())))]
    columns = found.classes.cpu().numpy()[shown].tolist()
    words = [f"{classes[column]} {found.scores[row]:.2f}" for column, row in zip(columns, shown.tolist(), strict=True)]
    masks = None if found.masks is None else found.masks.cpu().numpy()[shown].astype(np.bool_)
    drawn = Drawn(found.boxes.cpu().numpy()[shown], columns, words, np.zeros(len(shown), dtype=np.bool_), masks)
    figure = drawing.figure(6.4, 6.4 * image.height / image.width)
    axes = figure.add_subplot()
    axes.set_axis_off()
    _draw(np.asarray(image), drawn, colors(columns), axes, points=9)
    return save(figure, path)


def _pair(objects: Objects, results: Results, image: int, points: float, judged: tuple[Flags, Flags]) -> Pair:
    truth, rows, names = objects.of(image), results.of_image(image), objects.images.classes
    width, height = objects.sizes[image].tolist()
    scores, classes = results.scores[rows].numpy(), results.classes[rows].numpy()
    order = np.argsort(-scores, kind="stable")
    shown = order[: min(MOST, max(len(truth.boxes), int((scores >= LEAST).sum())))]
    masks = results.masks(image, height, width)
    right, neither = (flags[rows][shown] for flags in judged)
    on_truth = Drawn(
        truth.boxes, truth.classes.tolist(), [names[column] for column in truth.classes], truth.ignored,
        None if objects.shapes is None else objects.masks(image),
    )  # fmt: skip
    on_found = Drawn(
        results.boxes[rows].numpy()[shown], classes[shown].tolist(),
        [f"{names[classes[row]]} {scores[row]:.2f}" for row in shown], ~right & ~neither,
        None if masks is None else masks[shown],
    )  # fmt: skip
    pixels = np.asarray(objects.load(image))
    palette = colors([*on_truth.columns, *on_found.columns])
    title = f"AP {points:.1f}  {Path(objects.images.name(image)).name}"
    return Pair(title, *(functools.partial(_draw, pixels, drawn, palette) for drawn in (on_truth, on_found)))


def _draw(
    pixels: npt.NDArray[np.uint8], drawn: Drawn, palette: Mapping[int, str],
    axes: Any, points: float = 6,  # noqa: ANN401 - matplotlib has no types here
) -> None:  # fmt: skip
    """On matplotlib's axes, words in letters of `points`; the first boxes lie on top."""
    rectangle, rgb = drawing.matplotlib("patches").Rectangle, drawing.matplotlib("colors").to_rgb
    shown = pixels.astype(np.float32) / 255
    for mask, column in zip(() if drawn.masks is None else drawn.masks[::-1], drawn.columns[::-1], strict=False):
        shown[mask] = 0.45 * shown[mask] + 0.55 * np.array(rgb(palette[column]), dtype=np.float32)
    axes.imshow(shown, extent=(0, pixels.shape[1], pixels.shape[0], 0))
    for row in reversed(range(len(drawn.boxes))):
        left, top, right, bottom = (float(edge) for edge in drawn.boxes[row])
        color, dashes = palette[drawn.columns[row]], "--" if drawn.dashed[row] else "-"
        size = (right - left, bottom - top)
        axes.add_patch(rectangle((left, top), *size, fill=False, edgecolor="white", linewidth=2.6))
        axes.add_patch(rectangle((left, top), *size, fill=False, edgecolor=color, linewidth=1.5, linestyle=dashes))
        label = {"facecolor": color, "edgecolor": "none", "pad": 0.8, "alpha": 0.9}
        ink = "white" if _dark(rgb(color)) else INK
        word = {"fontsize": points, "color": ink, "va": "top", "clip_on": True, "parse_math": False}
        axes.text(left, top, drawn.words[row], bbox=label, **word)


def _dark(color: Sequence[float]) -> bool:
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] < 0.5
