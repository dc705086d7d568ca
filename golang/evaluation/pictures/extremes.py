"""Sheets of the images that went best and worst: the truth on the left, what was found on the right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from golang import drawing
from golang.drawing import INK
from golang.evaluation.pictures.shared import COLORS, save, short

SHOWN = 10  # images of each sheet
_PAIRS = 2  # in a row
_SIDE = 2.3  # inches of an image


class Pair(NamedTuple):
    """What one image is drawn by."""

    title: str
    truth: Callable[[Any], None]  # draws on matplotlib's axes
    found: Callable[[Any], None]


def extremes(points: npt.NDArray[np.float64], count: int = SHOWN) -> tuple[list[int], list[int]]:
    """Of images with `points` [N], the positions of the worst, the worst first, and of the best, the best first: up to
    `count` each and none twice. Images of NaN are excluded; of equal ones the earlier is chosen."""
    scored = np.flatnonzero(~np.isnan(points))
    rising = scored[np.argsort(points[scored], kind="stable")]
    falling = scored[np.argsort(-points[scored], kind="stable")]
    worst = rising[: min(count, (len(scored) + 1) // 2)].tolist()
    best = [image for image in falling.tolist() if image not in worst]
    return worst, best[:count]


def sheet(pairs: Sequence[Pair], title: str, path: Path) -> Path:
    """Draws pairs to `path`. Raises MissingMatplotlibError."""
    rows = -(-len(pairs) // _PAIRS)
    columns = 2 * min(_PAIRS, len(pairs))
    figure = drawing.figure(columns * _SIDE, rows * (_SIDE + 0.25) + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, pair in enumerate(pairs):
        row, column = place // _PAIRS, 2 * (place % _PAIRS)
        for axes, draw in ((grid[row, column], pair.truth), (grid[row, column + 1], pair.found)):
            draw(axes)
        grid[row, column].set_title(short(pair.title, 44), fontsize=8, color=INK, loc="left", parse_math=False)
    figure.suptitle(title, fontsize=10, color=INK)
    return save(figure, path)


def colors(columns: Iterable[int]) -> dict[int, str]:
    """A colour for each class of one image: the palette has fewer than most sets have classes."""
    return {column: COLORS[place % len(COLORS)] for place, column in enumerate(sorted(set(columns)))}
