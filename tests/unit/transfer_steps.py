"""A few images with what is in them, and steps of the networks for them, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from golang.collectives import sum_over_ranks
from golang.evaluation.transfer.networks import Target, Widths, faster_rcnn_c4, fcn, mask_rcnn, over_ranks
from golang.method.trunk import build_trunk

CLASSES = 3
WIDTHS = Widths(channels=16, features=32, regions_drawn=16, anchors_drawn=32, after_nms=(40, 20)).at(64)
SIZES = ((64, 48), (40, 64), (64, 64), (33, 50))  # height and width


def small_trunk() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_trunk("small")


def network(kind: str, **more: Any) -> Any:
    if kind == "A":
        return mask_rcnn(small_trunk(), CLASSES, seed=1, widths=WIDTHS, **more)
    if kind == "B":
        return faster_rcnn_c4(small_trunk(), CLASSES, seed=1, widths=replace(WIDTHS, regions_drawn=4), **more)
    return fcn(small_trunk(), CLASSES + 1, seed=1, channels=16, auxiliary_channels=8, **more)


def scene(index: int, dtype: torch.dtype) -> tuple[Tensor, Target]:
    """Squares of one colour a class on noise; image 1 has none."""
    draw = torch.Generator().manual_seed(index)
    height, width = SIZES[index % len(SIZES)]
    image = 0.3 * torch.randn(3, height, width, generator=draw, dtype=dtype)
    boxes, classes = [], []
    for place in range(0 if index == 1 else 2):
        side, kind = 14 + 3 * (index % 3), (index + place) % CLASSES
        top, left = (int(torch.randint(0, room - side, (), generator=draw)) for room in (height, width))
        image[kind, top : top + side, left : left + side] += 2
        boxes.append([left, top, left + side, top + side])
        classes.append(kind)
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return image, Target(torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.tensor(classes).long(), masks)


def losses(made: nn.Module, indices: Sequence[int], epoch: int, dtype: torch.dtype) -> dict[str, Any]:
    keys = [(7, epoch, index) for index in indices]
    scenes = [scene(index, dtype) for index in indices]
    if hasattr(made, "roi_heads"):
        found: dict[str, Any] = made.losses([image for image, _ in scenes], [target for _, target in scenes], keys)
        return found
    images, maps = torch.zeros(len(indices), 3, 64, 64, dtype=dtype), torch.full((len(indices), 64, 64), 255)
    for row, (image, target) in enumerate(scenes):
        height, width = image.shape[1:]
        images[row, :, :height, :width], maps[row, :height, :width] = image, 0
        for kind, mask in zip(target.classes, target.masks if target.masks is not None else (), strict=True):
            maps[row, :height, :width][mask] = kind + 1
    found = made.losses(images, maps, keys)  # type: ignore[operator]
    return found


def steps(
    made: nn.Module, indices: Sequence[int], count: int, dtype: torch.dtype = torch.float64, rate: float = 0.02
) -> list[Tensor]:
    """Trains on this rank's part of a batch; each loss of the whole batch, [names], step by step."""
    made.to(dtype).train()
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=rate, momentum=0.9)
    seen = []
    for step in range(count):
        optimizer.zero_grad()
        part, values = over_ranks(losses(made, indices, step, dtype))
        part.backward()
        for parameter in made.parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None
                sum_over_ranks(parameter.grad)
        nn.utils.clip_grad_norm_(made.parameters(), 5.0)
        optimizer.step()
        seen.append(torch.stack(list(values.values())))
    return seen
