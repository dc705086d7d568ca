"""What scores are worth once a yes or no is wanted: F1 at the thresholds that suit the training images best, precision
among the highest scores, accuracy where every image has one label. Labels of 255 are unknown, and count nowhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golang.evaluation.average_precision import IGNORE

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]
BEST_OF = (1, 3, 5)  # scores of an image among which precision is taken


@dataclass(frozen=True)
class Thresholds:
    """The lowest score that counts as yes."""

    micro: float | None  # one for all classes; None: no positive is known
    per_class: tuple[float | None, ...]  # [C]; None for a class without a known positive, which is never said


@dataclass(frozen=True)
class F1:
    """Harmonic means of precision and recall, in 0–1."""

    micro: float  # of all pairs of image and class together, at the one threshold
    per_class: npt.NDArray[np.float64]  # [C], each at its own; 0 for a class without a known positive

    @property
    def macro(self) -> float:
        return float(self.per_class.mean())


def choose(scores: Scores, labels: Labels) -> Thresholds:
    """The thresholds with the best F1 on scores [N, C] and labels [N, C] in {0, 1, 255}; of equally good ones the
    highest."""
    known, positive = labels != IGNORE, labels == 1
    columns = range(scores.shape[1])
    per_class = (_best(scores[known[:, c], c], positive[known[:, c], c]) for c in columns)
    return Thresholds(_best(scores[known], positive[known]), tuple(per_class))


def f1(scores: Scores, labels: Labels, thresholds: Thresholds) -> F1:
    """F1 of scores [N, C] at `thresholds` against labels [N, C] in {0, 1, 255}."""
    positive = labels == 1
    one = np.inf if thresholds.micro is None else thresholds.micro
    own = np.array([np.inf if at is None else at for at in thresholds.per_class])
    together, each = ((scores >= at) & (labels != IGNORE) for at in (one, own))
    micro = 2 * int((together & positive).sum()) / max(int(together.sum()) + int(positive.sum()), 1)
    return F1(micro, 2 * (each & positive).sum(0) / np.maximum(each.sum(0) + positive.sum(0), 1))


def precision_at(scores: Scores, labels: Labels) -> dict[int, float | None]:
    """For each k of BEST_OF up to the number of classes: the mean share of positives among an image's k highest scores
    [N, C], the first class first where they are equal. Classes that are unknown of an image are passed over; images
    with fewer than k known ones are excluded, and None stands where all are."""
    known = labels != IGNORE
    left = np.where(known, scores, -np.inf)
    rows, hits = np.arange(len(left)), np.zeros(len(left))
    found: dict[int, float | None] = {}
    for k in range(1, min(max(BEST_OF), left.shape[1]) + 1):
        highest = left.argmax(1)
        hits += labels[rows, highest] == 1
        left[rows, highest] = -np.inf
        if k in BEST_OF:
            enough = known.sum(1) >= k
            found[k] = float(hits[enough].mean() / k) if enough.any() else None
    return found


def has_one_label_each(labels: Labels) -> bool:
    """Whether every image of labels [N, C] has one class, and all is known."""
    return bool(((labels == 1).sum(1) == 1).all() and (labels != IGNORE).all())


def accuracy(scores: Scores, labels: Labels) -> float:
    """The share of images whose highest score [N, C] is that of their class."""
    return float((labels[np.arange(len(labels)), scores.argmax(1)] == 1).mean())


def _best(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    """The score from which on saying yes has the best F1: a positive's, as one below adds nothing but wrong ones."""
    right, said = np.sort(scores[positive]), np.sort(scores)
    if not len(right):
        return None
    at = np.unique(right)[::-1]
    hits, yeses = len(right) - np.searchsorted(right, at), len(said) - np.searchsorted(said, at)
    return float(at[(2 * hits / (yeses + len(right))).argmax()])
