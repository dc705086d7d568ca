"""The average precision of every class of two evaluations, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from golang import drawing
from golang.drawing import INK
from golang.errors import DataError
from golang.evaluation.pictures.shared import save, short


def draw_classes(names: tuple[str, str], scores: tuple[Mapping[str, float], Mapping[str, float]], path: Path) -> Path:
    """Draws to `path` the average precision of every class, in points, of two evaluations as pairs of bars; the class
    where the first leads most is on top.

    Raises MissingMatplotlibError, and DataError when the two are not of the same classes.
    """
    if scores[0].keys() != scores[1].keys():
        raise DataError(f"{names[0]} and {names[1]} were evaluated on other classes, so there is nothing to compare")
    order = sorted(scores[0], key=lambda name: scores[0][name] - scores[1][name])
    figure = drawing.figure(8.0, 1.4 + 0.26 * len(order))
    axes = figure.add_subplot()
    middle = np.arange(len(order))
    for which, (color, hatch) in enumerate((("#0072B2", ""), ("#E69F00", "///"))):
        values = [scores[which][name] for name in order]
        label = f"{short(names[which], 80)}: mAP {np.mean(values):.1f}"
        axes.barh(middle + 0.2 - 0.4 * which, values, 0.4, color=color, hatch=hatch, edgecolor="white", label=label)
    for y, name in enumerate(order):
        ahead = scores[0][name] - scores[1][name]
        axes.text(max(scores[0][name], scores[1][name]) + 0.6, y, f"{ahead:+.1f}", va="center", fontsize=7, color=INK)
    axes.set_yticks(middle, order, fontsize=8)
    axes.margins(x=0.08)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlabel("average precision (points); beside the bars, by how much the first leads")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9)
    return save(figure, path)
