"""Which detections are right: those of enough overlap with a true box of their class that no better one has claimed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golang.data.objects.objects import Objects
from golang.evaluation.transfer.scores.results import Results

Boxes = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """Of n detections, each with the true box of its image and class that it overlaps most, by PASCAL VOC's rule.

    VOC counts pixels, with 1 added to each side of a box from its first to its last; in our boxes, whose x1 and y1 are
    the edge behind the last pixel, that is the plain intersection over union.
    """

    overlaps: npt.NDArray[np.float64]  # [n], IoU; −1 where the image holds no object of the class
    truths: npt.NDArray[np.int64]  # [n], which object, as `Objects` counts; of equal overlaps the first
    order: npt.NDArray[np.int64]  # [n], from the best score down; of equal scores the earlier first
    ignored: Flags  # [M], of every object, the last one twice: nothing is matched to it

    @classmethod
    def of(cls, objects: Objects, results: Results) -> Matches:
        classes, boxes = results.classes.numpy(), results.boxes.numpy()
        overlaps, truths = np.full(len(results), -1.0), np.full(len(results), len(objects.classes))
        for image in np.unique(results.images.numpy()).tolist():
            rows, own = results.of_image(image), slice(*objects.offsets[image : image + 2].tolist())
            if own.stop > own.start:
                same = classes[rows, None] == objects.classes[own]
                table = np.where(same, iou(boxes[rows], objects.boxes[own]), -1.0)
                overlaps[rows], truths[rows] = table.max(1), own.start + table.argmax(1)
        order = np.argsort(-results.scores.double().numpy(), kind="stable")
        return cls(overlaps, truths, order, np.append(objects.ignored, False))

    def judged(self, threshold: float) -> tuple[Flags, Flags]:
        """Which detections are right and which count neither way, bool [n] each, where an overlap of `threshold` is
        enough. The best of those that overlap one object is right, the others are wrong; overlapping an ignored object
        counts neither way."""
        enough = self.overlaps >= threshold
        neither = enough & self.ignored[self.truths]
        claims = self.order[(enough & ~neither)[self.order]]
        right = np.zeros(len(self.order), dtype=np.bool_)
        right[claims[np.unique(self.truths[claims], return_index=True)[1]]] = True
        return right, neither


def iou(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes [n, 4] and [m, 4] (x0, y0, x1, y1), float64 [n, m]."""
    a, b = np.asarray(one, np.float64)[:, None], np.asarray(other, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(sides.clip(min=0), axis=-1)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (a, b)]
    return np.asarray(shared / (areas[0] + areas[1] - shared))
