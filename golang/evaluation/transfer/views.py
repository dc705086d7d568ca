"""An image and what is to be found in it, resized, flipped, cropped and distorted as drawn.

Every view is a function of the generator it is given, and takes the same number of draws whatever they come to. Images
are resized by Pillow, antialiased; their maps and masks to the nearest pixel. Geometry and colours are the protocols'
usual ones: of detection, a short side drawn from a list (He et al., arXiv 1703.06870); of segmentation, a scale, a crop
and colours (the latter as for SSD: Liu et al., arXiv 1512.02325).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from golang.data.crops.device import MEAN
from golang.data.objects.objects import Found
from golang.data.objects.segments import IGNORED
from golang.evaluation.transfer.networks.types import Target
from golang.evaluation.transfer.numbers import Protocol

Map = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]
Size = tuple[int, int]  # width, height

PADDING = tuple(round(255 * mean) for mean in MEAN)  # levels that are 0 once normalised, within half a level
_COLOR_DRAWS = 9


def fitted(size: Size, side: int, longest: int) -> Size:
    """Width and height at which an image's short side has `side` pixels, or its long side `longest` if it had more."""
    scale = min(side / min(size), longest / max(size))
    return _scaled(size[0], scale), _scaled(size[1], scale)


def whole_view(image: Image.Image, side: int, longest: int) -> Tensor:
    """The whole image as detectors and segmentations are tested on it: uint8 [3, h, w]."""
    return _tensor(image.resize(fitted(image.size, side, longest), Image.Resampling.BILINEAR))


def detection_view(
    rng: np.random.Generator, image: Image.Image, found: Found, masks: Masks | None, protocol: Protocol,
    ignored: bool = False,
) -> tuple[Tensor, Target]:  # fmt: skip
    """An image at one of the protocol's sides, each as likely, and flipped at its chance: uint8 [3, h, w], with its
    objects.

    Args:
        masks: bool [n, height, width] of the n objects found in it, or None.
        ignored: whether objects that are not to be found when scored are to be learned, as VOC's difficult ones are
            and COCO's crowds are not.
    """
    drawn, mirror = rng.random(2).tolist()
    sides = protocol.sides
    width, height = fitted(image.size, sides[int(drawn * len(sides))], protocol.longest)
    pixels = image.resize((width, height), Image.Resampling.BILINEAR)
    kept = np.ones(len(found.boxes), dtype=np.bool_) if ignored else ~found.ignored
    across, down = width / image.width, height / image.height
    boxes = found.boxes[kept] * np.array([across, down, across, down], dtype=np.float32)
    if masks is not None:
        rows, columns = _nearest(image.height, height), _nearest(image.width, width)
        masks = masks[kept][:, rows[:, None], columns]
    if mirror < protocol.flip:
        pixels = ImageOps.mirror(pixels)
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        masks = None if masks is None else masks[:, :, ::-1]
    shapes = None if masks is None else torch.from_numpy(np.ascontiguousarray(masks))
    return _tensor(pixels), Target(torch.from_numpy(boxes), torch.from_numpy(found.classes[kept]), shapes)


def segmentation_view(
    rng: np.random.Generator, image: Image.Image, labels: Map, protocol: Protocol
) -> tuple[Tensor, Tensor]:
    """A crop of `side` × `side` pixels, as the protocol says, of an image and of its map, uint8 [height, width]: uint8
    [3, side, side] and [side, side].

    The image is scaled by one of `scales` around its size at test, then cut: where one class takes more than `most` of
    the pixels that count, another place is tried. Some crops are flipped; colours are distorted. What the image does
    not reach is of the mean colour and IGNORED.
    """
    side, last = protocol.side, 1 + 2 * protocol.tries
    u = rng.random(last + 1 + _COLOR_DRAWS).tolist()
    ratio = _between(protocol.scales, u[0])
    scale = min(ratio * side / min(image.size), ratio * protocol.longest / max(image.size))
    width, height = max(1, _scaled(image.width, scale)), max(1, _scaled(image.height, scale))
    rows, columns = _nearest(image.height, height), _nearest(image.width, width)
    for down, across in zip(u[1:last:2], u[2 : last + 1 : 2], strict=True):
        top, left = (int(draw * (max(whole - side, 0) + 1)) for draw, whole in ((down, height), (across, width)))
        part = labels[rows[top : top + side, None], columns[left : left + side]]
        if _mixed(part, protocol.most):
            break
    across, down = image.width / width, image.height / height
    right, bottom = (left + part.shape[1]) * across, (top + part.shape[0]) * down
    box = (left * across, top * down, min(right, image.width), min(bottom, image.height))
    cut = image.resize(part.shape[::-1], Image.Resampling.BILINEAR, box=box)
    if u[last] < protocol.flip:
        cut, part = ImageOps.mirror(cut), part[:, ::-1]
    cut = Distortion.drawn(u[last + 1 :], protocol).apply(cut)
    pixels, known = Image.new("RGB", (side, side), PADDING), np.full((side, side), IGNORED, dtype=np.uint8)
    pixels.paste(cut)
    known[: part.shape[0], : part.shape[1]] = part
    return _tensor(pixels), torch.from_numpy(known)


@dataclass(frozen=True)
class Distortion:
    """Of colours: brightness, contrast before or after the two others, saturation, hue; each half of the time."""

    brightness: float  # levels
    contrast: float
    contrast_first: bool
    saturation: float
    hue: float  # degrees

    @classmethod
    def drawn(cls, u: Sequence[float], protocol: Protocol) -> Distortion:
        """From nine numbers in [0, 1), within what the protocol allows."""
        on = [draw < 0.5 for draw in u[:4]]
        return cls(
            protocol.brightness * (2 * u[4] - 1) * on[0], _between(protocol.contrast, u[5]) if on[1] else 1.0,
            u[8] < 0.5, _between(protocol.saturation, u[6]) if on[2] else 1.0, protocol.hue * (2 * u[7] - 1) * on[3],
        )  # fmt: skip

    def apply(self, image: Image.Image) -> Image.Image:
        """An RGB image's like. Each change is cut to 0–255 and rounded."""
        levels = np.asarray(image, dtype=np.float32)
        levels = _rounded(levels + self.brightness)
        if self.contrast_first:
            levels = _rounded(levels * self.contrast)
        if (self.saturation, self.hue) != (1.0, 0.0):
            levels = _turned(levels, self.saturation, self.hue)
        if not self.contrast_first:
            levels = _rounded(levels * self.contrast)
        return Image.fromarray(levels.astype(np.uint8))


def _scaled(pixels: int, scale: float) -> int:
    return math.floor(pixels * scale + 0.5)


def _nearest(before: int, after: int) -> npt.NDArray[np.int64]:
    """Which of `before` pixels lies under the middle of each of `after`, int64 [after]."""
    return (2 * np.arange(after) + 1) * before // (2 * after)


def _between(ends: tuple[float, float], u: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * u


def _mixed(part: Map, most: float) -> bool:
    """Whether a crop holds two classes or more, none of them on more than `most` of its pixels that count."""
    counts = np.bincount(part.ravel(), minlength=IGNORED + 1)[:IGNORED]
    return bool(np.count_nonzero(counts) > 1 and counts.max() <= most * counts.sum())


def _turned(levels: npt.NDArray[np.float32], saturation: float, hue: float) -> npt.NDArray[np.float32]:
    """RGB levels [h, w, 3] of another saturation and hue, through HSV of 8 bits a channel."""
    h, s, v = (np.asarray(band) for band in Image.fromarray(levels.astype(np.uint8)).convert("HSV").split())
    turned = (h.astype(np.int16) + round(256 * hue / 360)) % 256
    bands = (turned, _rounded(s * np.float32(saturation)), v)
    image = Image.merge("HSV", [Image.fromarray(band.astype(np.uint8)) for band in bands])
    return np.asarray(image.convert("RGB"), dtype=np.float32)


def _rounded(levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(levels.clip(0, 255).round(), dtype=np.float32)


def _tensor(image: Image.Image) -> Tensor:
    """uint8 [3, h, w]."""
    return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())
