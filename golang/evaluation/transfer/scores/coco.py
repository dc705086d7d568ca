"""Box and mask AP by COCO's rule (Lin et al., arXiv 1405.0312), computed by faster-coco-eval from flat arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from golang.data.objects.objects import Objects
from golang.evaluation.transfer.scores.results import Results, encode, library

log = logging.getLogger(__name__)
Ask = Callable[[], None]
Precisions = npt.NDArray[np.float64]  # [IoU, recall, class, size, most detections]; −1 where there is nothing to find
SIZES = ("AP", "AP_small", "AP_medium", "AP_large")  # areas below 32², below 96², and others
ASK_EVERY = 64  # images
AT = {"AP50": 0, "AP75": 5}  # places of the IoU thresholds .50, .55, … .95


def coco(objects: Objects, results: Results, ask: Ask = lambda: None) -> dict[str, Any]:
    """Figures of the boxes in points: `mAP`, the mean over classes and IoU .5 to .95; `AP50`, `AP75`; `AP_small`,
    `AP_medium` and `AP_large`, None where no object is of the size; `per_class` and `classes_without_positives`, which
    count in none. Where both have masks, `mask` has the same figures of these.

    Ignored objects are COCO's crowds: finding them, however often, is not wrong. `ask` is called now and then, and ends
    it by raising. Raises MissingScorerError.
    """
    figures = _figures(objects, results, "bbox", ask)
    if objects.shapes is not None and results.lengths is not None:
        figures["mask"] = _figures(objects, results, "segm", ask)
    return figures


def _figures(objects: Objects, results: Results, kind: str, ask: Ask) -> dict[str, Any]:
    names = objects.images.classes
    truths = _by_class(_truths(objects, kind, ask), len(names))
    ask()
    found = _by_class(_found(objects, results, kind), len(names))
    parts = list[Precisions]()
    for column in range(len(names)):
        ask()
        parts.append(_precisions(objects, column, truths[column], found[column], kind))
    every = np.concatenate(parts, axis=2)
    sizes = {name: _mean(every[..., place]) for place, name in enumerate(SIZES)}
    whole = every[..., 0]
    classes = {name: _mean(whole[:, :, column]) for column, name in enumerate(names)}
    return {
        "mAP": sizes.pop("AP") or 0.0, **{name: _mean(whole[place]) or 0.0 for name, place in AT.items()}, **sizes,
        "per_class": {name: points for name, points in classes.items() if points is not None},
        "classes_without_positives": [name for name, points in classes.items() if points is None],
    }  # fmt: skip


def _precisions(
    objects: Objects, column: int, truths: list[dict[str, Any]], found: list[dict[str, Any]], kind: str
) -> Precisions:
    """Of one class, in which no other has a say."""
    scorer = library("faster_eval_api").COCOeval_faster(
        _indexed(objects, column, truths), _indexed(objects, column, found), kind, print_function=log.debug
    )
    scorer.evaluate()
    scorer.accumulate()
    precisions: Precisions = scorer.eval["precision"][..., -1]
    return precisions


def _by_class(annotations: list[dict[str, Any]], classes: int) -> list[list[dict[str, Any]]]:
    """Annotations of each class, in their order."""
    parts: list[list[dict[str, Any]]] = [[] for _ in range(classes)]
    for one in annotations:
        parts[one["category_id"] - 1].append(one)
    return parts


def _mean(precisions: Precisions) -> float | None:
    """In points; None of nothing."""
    counted = precisions[precisions > -1]
    return 100 * float(np.mean(counted)) if len(counted) else None


def _indexed(objects: Objects, column: int, annotations: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - it has no types
    """The scorer's view of a class's annotations."""
    ids, sizes = objects.ids.tolist(), objects.sizes.tolist()
    found = library("coco").COCO(print_function=log.debug)
    found.dataset = {
        "images": [{"id": id, "width": w, "height": h} for id, (w, h) in zip(ids, sizes, strict=True)],
        "categories": [{"id": column + 1, "name": objects.images.classes[column]}],
        "annotations": annotations,
    }
    found.createIndex()
    return found


def _truths(objects: Objects, kind: str, ask: Ask) -> list[dict[str, Any]]:
    images = np.repeat(np.arange(len(objects)), np.diff(objects.offsets))
    annotations = _annotations(objects, images, objects.boxes, objects.classes, objects.areas, objects.ignored)
    if kind == "segm":
        codes = (code for image in _asking(range(len(objects)), ask) for code in encode(objects.masks(image)))
        for one, code in zip(annotations, _sized(objects, images, codes), strict=True):
            one["segmentation"] = code
    return annotations


def _asking(images: range, ask: Ask) -> Iterator[int]:
    for image in images:
        if image % ASK_EVERY == 0:
            ask()
        yield image


def _found(objects: Objects, results: Results, kind: str) -> list[dict[str, Any]]:
    """Small, medium and large are boxes or masks by their own area."""
    images, boxes = results.images.numpy(), results.boxes.numpy().astype(np.float64)
    areas, crowds = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.zeros(len(boxes), dtype=np.bool_)
    codes = [*_sized(objects, images, results.coded())] if kind == "segm" else []
    if codes:
        areas = library("mask").area(codes)
    annotations = _annotations(objects, images, boxes, results.classes.numpy(), areas, crowds)
    for one, score in zip(annotations, results.scores.tolist(), strict=True):
        one["score"] = score
    for one, code in zip(annotations, codes, strict=False):
        one["segmentation"] = code
    return annotations


def _annotations(
    objects: Objects, images: npt.NDArray[np.int64], boxes: npt.NDArray[np.float64], classes: npt.NDArray[np.int64],
    areas: npt.NDArray[np.float64], crowds: npt.NDArray[np.bool_],
) -> list[dict[str, Any]]:  # fmt: skip
    """As COCO's files have them, of n objects at the positions `images`; boxes [n, 4] are x0, y0, x1, y1."""
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    columns = (objects.ids[images], classes + 1, sides, areas, crowds.astype(np.int64))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"id": number, "image_id": id, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
        for number, (id, category, box, area, crowd) in enumerate(rows, 1)
    ]


def _sized(objects: Objects, images: npt.NDArray[np.int64], codes: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Codes of masks in the images at those positions, with their height and width."""
    for (width, height), code in zip(objects.sizes[images].tolist(), codes, strict=True):
        yield {"size": [height, width], "counts": code}
