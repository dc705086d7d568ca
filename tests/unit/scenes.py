"""Generated truths and detections: what scores and pictures are tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from golang.data.images import ImageSet
from golang.data.objects.masks import Shapes
from golang.data.objects.objects import Objects
from golang.data.toy.truth import run_lengths
from golang.evaluation.transfer.networks.types import Detections
from golang.evaluation.transfer.scores.results import Results

CLASSES = ("cat", "dog", "bus", "cup", "kite")  # no kite is in any image
Box = tuple[float, float, float, float]


def objects_of(
    truths: list[list[tuple[str, Box, bool]]], classes: tuple[str, ...] = CLASSES, size: tuple[int, int] = (100, 80),
    root: Path = Path("/nowhere"),
) -> Objects:  # fmt: skip
    """Boxes alone: of each image, (class, box, ignored)."""
    every = [one for image in truths for one in image]
    boxes = np.array([box for _, box, _ in every], dtype=np.float64).reshape(-1, 4)
    sizes = np.tile(np.array(size, dtype=np.int32), (len(truths), 1))
    return Objects(
        images=ImageSet.of(root, [f"{number}.png" for number in range(len(truths))], classes=classes),
        sizes=sizes, ids=np.arange(len(truths)) * 3 + 7, offsets=np.cumsum([0, *map(len, truths)]), boxes=boxes,
        classes=np.array([classes.index(name) for name, _, _ in every], dtype=np.int64),
        ignored=np.array([ignored for _, _, ignored in every], dtype=np.bool_),
        areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
    )  # fmt: skip


def results_of(found: list[tuple[int, str, Box, float]], classes: tuple[str, ...] = CLASSES) -> Results:
    """Boxes alone: of each detection, (image, class, box, score)."""
    parts = [
        Results.of(
            image, Detections(torch.tensor([box]), torch.tensor([score]), torch.tensor([classes.index(name)]), None)
        )
        for image, name, box, score in found
    ]
    return Results.joined(parts, masked=False)


def generated(seed: int, images: int, folder: Path | None = None) -> tuple[Objects, list[Detections]]:
    """Images with objects, some of them crowds, and what a middling detector finds: shifted boxes, wrong classes,
    several on one object, none at all, and equal scores. With a `folder` the images are written to it."""
    rng = np.random.default_rng(seed)
    truths, masks, found = [], list[np.ndarray](), []
    sizes = rng.integers(60, 280, (images, 2)).astype(np.int32)
    for width, height in sizes.tolist():
        own = [(CLASSES[rng.integers(4)], _box(rng, width, height), bool(rng.random() < 0.15))
               for _ in range(rng.integers(0, 6))]  # fmt: skip
        shapes = [ellipse(box, width, height) for _, box, _ in own]
        truths.append(own)
        masks += shapes
        found.append(_detected(rng, own, width, height))
    plain = objects_of(truths, root=folder or Path("/nowhere"))
    counts = [np.array(run_lengths(mask), dtype=np.int32) for mask in masks]
    every = np.arange(len(masks))
    objects = Objects(
        plain.images, sizes, plain.ids, plain.offsets, plain.boxes, plain.classes, plain.ignored,
        np.array([mask.sum() for mask in masks], dtype=np.float64),
        Shapes(np.ones(len(masks), dtype=np.bool_), every, every + 1, np.cumsum([0, *map(len, counts)]),
               np.concatenate(counts)),
    )  # fmt: skip
    if folder is not None:
        for index in range(images):
            picture(objects, index).save(objects.images.path(index))
    return objects, found


def picture(objects: Objects, index: int) -> Image.Image:
    """A grey slope with the image's objects lighter on it."""
    width, height = objects.sizes[index].tolist()
    pixels = np.broadcast_to(np.linspace(40, 120, width)[None, :, None], (height, width, 3)).copy()
    for mask, column in zip(objects.masks(index), objects.of(index).classes, strict=True):
        pixels[mask] = 130 + 25 * column
    return Image.fromarray(pixels.astype(np.uint8))


def ellipse(box: Box, width: int, height: int) -> np.ndarray:
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[:height, :width] + 0.5
    mask = ((columns - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1) / 2) / (y1 - y0)) ** 2 <= 0.25
    return np.asarray(mask)


def _box(rng: np.random.Generator, width: int, height: int) -> Box:
    w, h = int(rng.integers(8, 3 * width // 4)), int(rng.integers(8, 3 * height // 4))
    x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
    return x, y, x + w, y + h


def _detected(rng: np.random.Generator, truths: list[tuple[str, Box, bool]], width: int, height: int) -> Detections:
    boxes, columns = list[Box](), list[int]()
    for name, box, _ in truths:
        for _ in range(rng.integers(0, 4)):
            x0, y0, x1, y1 = (box + rng.integers(-16, 17, 4) / 4).tolist()
            x0, y0 = max(0.0, x0), max(0.0, y0)
            boxes.append((x0, y0, min(width, max(x1, x0 + 5)), min(height, max(y1, y0 + 5))))
            columns.append(CLASSES.index(name) if rng.random() < 0.8 else int(rng.integers(5)))
    for _ in range(rng.integers(0, 3)):
        boxes.append(_box(rng, width, height))
        columns.append(int(rng.integers(5)))
    masks = np.array([ellipse(box, width, height) for box in boxes], dtype=np.bool_).reshape(-1, height, width)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.from_numpy(rng.integers(1, 100, len(boxes)) / 100).float(),
        torch.tensor(columns, dtype=torch.int64), torch.from_numpy(masks),
    )  # fmt: skip
