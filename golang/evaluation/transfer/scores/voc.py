"""Average precision by PASCAL VOC 2007's 11-point rule (Everingham et al., IJCV 2010), and that of single images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from golang.data.objects.objects import Objects
from golang.evaluation.transfer.scores.matching import Flags, Matches
from golang.evaluation.transfer.scores.results import Results

OVERLAPS = tuple(percent / 100 for percent in range(50, 100, 5))  # IoU thresholds that AP is the mean over
POINTS = 10  # recall is asked at 0, 1/10, … 10/10


def voc11(objects: Objects, results: Results, ask: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Figures in points: `mAP`, the mean over the classes that have an object and over IoU .5 to .95; `AP50`, `AP75`;
    `per_class`, the mean over IoU; `classes_without_positives`, which count in none. Difficult objects are neither to
    be found nor wrong to find. `ask` is called now and then, and ends it by raising."""
    names, matches = objects.images.classes, Matches.of(objects, results)
    totals = np.bincount(objects.classes[~objects.ignored], minlength=len(names))
    columns = np.flatnonzero(totals)
    ordered = results.classes.numpy()[matches.order]
    points = np.zeros((len(OVERLAPS), len(columns)))
    for row, threshold in enumerate(OVERLAPS):
        ask()
        right, neither = (flags[matches.order] for flags in matches.judged(threshold))
        for place, column in enumerate(columns):
            counted = (ordered == column) & ~neither
            points[row, place] = 100 * eleven_points(right[counted], int(totals[column]))
    return {
        "mAP": mean(points), "AP50": mean(points[OVERLAPS.index(0.5)]), "AP75": mean(points[OVERLAPS.index(0.75)]),
        "per_class": {names[column]: mean(points[:, place]) for place, column in enumerate(columns)},
        "classes_without_positives": [names[column] for column in np.flatnonzero(totals == 0)],
    }  # fmt: skip


def by_image(objects: Objects, results: Results) -> npt.NDArray[np.float64]:
    """The AP of each image's boxes in points, all its classes as one, over IoU .5 to .95: float64 [N]; NaN where there
    is nothing to be found."""
    matches = Matches.of(objects, results)
    judged = [matches.judged(threshold) for threshold in OVERLAPS]
    scores, points = results.scores.double().numpy(), np.full(len(objects.images), np.nan)
    for image in range(len(points)):
        total = int((~objects.of(image).ignored).sum())
        rows = results.of_image(image)
        order = rows.start + np.argsort(-scores[rows], kind="stable")
        if total:
            each = [eleven_points(right[order][~neither[order]], total) for right, neither in judged]
            points[image] = 100 * np.mean(each)
    return points


def eleven_points(right: Flags, total: int) -> float:
    """Average precision in 0–1 of detections [n] from the best score down, of which `right` ones find `total` objects:
    the mean over recalls 0, .1, … 1 of the best precision at that recall or above. Recalls are compared as fractions:
    3 of 10 are .3."""
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # `found` never falls, so the first detection that reaches a recall has the best precision from there on.
    firsts = np.searchsorted(POINTS * found, np.arange(POINTS + 1) * total)
    return float(np.append(best, 0.0)[firsts].mean())


def mean(points: npt.NDArray[np.float64]) -> float:
    """0 of none."""
    return float(points.mean()) if points.size else 0.0
