"""Mean average precision for multi-label classification, by SS-PRL's rule (arXiv 2208.14439)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

IGNORE = 255
TIE = 1e-5


@dataclass(frozen=True)
class AveragePrecision:
    per_class: np.ndarray[Any, np.dtype[np.float64]]  # [C], in 0–1
    mean: float
    empty: tuple[int, ...]  # classes without a positive, which count 0

    def by_class(self, classes: Sequence[str]) -> dict[str, Any]:
        """The classes' part of a result, by their names: `per_class`, in points, and `classes_without_positives`."""
        points = [round(100 * float(value), 4) for value in self.per_class]
        per_class = dict(zip(classes, points, strict=True))
        return {"per_class": per_class, "classes_without_positives": [classes[c] for c in self.empty]}


def average_precision(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> AveragePrecision:
    """AP of logits [N, C] against labels [N, C] in {0, 1, 255}; 255 drops the image for that class.

    Scores closer than 1e-5 count against the classifier (positives are lowered by that much); a class without
    positives counts 0 and is listed in `empty`. Computed in fp64.
    """
    scores = np.asarray(logits, dtype=np.float64)
    wanted = np.asarray(labels)
    per_class = np.zeros(scores.shape[1])
    empty = []
    for c in range(scores.shape[1]):
        kept = wanted[:, c] != IGNORE
        truth = wanted[kept, c].astype(np.float64)
        if truth.any():
            per_class[c] = average_precision_score(truth, scores[kept, c] - TIE * truth)
        else:
            empty.append(c)
    return AveragePrecision(per_class, float(per_class.mean()), tuple(empty))
