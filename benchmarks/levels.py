"""How far the fast pipelines' pixels are from Pillow's under equal parameters, operation by operation."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from golang.config import Augment
from golang.data import decode
from golang.data.crops import device, draw, opencv, pillow
from golang.data.crops.draw import Color, ViewParameters
from golang.data.pixels import pixels as as_tensor
from golang.randomness import Purpose, generator

OPERATIONS = ("decode", "resize", "flip", "brightness", "contrast", "saturation", "hue", "grayscale", "blur", "all")
FAST = ("opencv", "device") if importlib.util.find_spec("cv2") else ("device",)


@dataclass(frozen=True)
class Difference:
    """In levels of 255, over every byte of every view."""

    mean: float
    worst: int


def differences(files: Sequence[bytes], sizes: Sequence[int], draws: int) -> dict[str, dict[str, Difference]]:
    """By operation and pipeline, from Pillow's rendering of `draws` views a file and size.

    Operations but `decode`, `resize` and `all` act on crops that need no resizing, so that each is seen by itself.
    """
    found: dict[str, dict[str, list[Tensor]]] = {name: {fast: [] for fast in FAST} for name in OPERATIONS}
    for number, data in enumerate(files):
        image, pixels = decode.decode(data), as_tensor(data)
        decoding = (pixels[0].int() - functional.pil_to_tensor(image).int()).abs().flatten()
        for fast in FAST:
            found["decode"][fast].append(decoding)
        for size in sizes:
            drawn = [_drawn(number, turn, image, size) for turn in range(draws)]
            for name in OPERATIONS[1:]:
                views = [_alone(name, parameters, size) for parameters in drawn]
                expected = torch.stack([pillow.apply(image, view, size) for view in views]).int()
                for fast in FAST:
                    off = (rendered(fast, pixels, views, size).int() - expected).abs()
                    found[name][fast].append(off.flatten())
    return {name: {fast: _difference(offs) for fast, offs in row.items()} for name, row in found.items()}


def rendered(pipeline: str, pixels: Tensor, views: Sequence[ViewParameters], size: int) -> Tensor:
    """Views uint8 [R, 3, size, size] of uint8 [1, 3, H, W] by a fast pipeline."""
    if pipeline == "opencv":
        return torch.stack([opencv.apply(pixels, view, size) for view in views])
    crops = torch.stack([device.resized(pixels, view, size) for view in views])
    return device.adjust(crops, torch.tensor([device.pack(view) for view in views]))


def _drawn(number: int, turn: int, image: Image.Image, size: int) -> ViewParameters:
    """A view to which everything happens, over the published ranges."""
    settings = replace(Augment(), color_probability=1.0, blur_probability=1.0)
    rng = generator(0, Purpose.VIEW, turn, number, size)
    return draw.draw(rng, *image.size, (0.05, 1.0), settings)


def _alone(name: str, drawn: ViewParameters, size: int) -> ViewParameters:
    """One operation of a view; `all` is the view as it was drawn."""
    if name == "all":
        return drawn
    plain = ViewParameters((0, 0, size, size), False, None, False, None)
    if name == "resize":
        return replace(plain, box=drawn.box)
    if name == "flip":
        return replace(plain, flip=True)
    if name == "grayscale":
        return replace(plain, gray=True)
    if name == "blur":
        return replace(plain, blur_radius=drawn.blur_radius)
    assert drawn.color is not None
    index = OPERATIONS.index(name) - OPERATIONS.index("brightness")
    factors = list(draw.NEUTRAL)
    factors[index] = drawn.color.factors[index]
    return replace(plain, color=Color(drawn.color.order, tuple(factors)))


def _difference(offs: Sequence[Tensor]) -> Difference:
    every = torch.cat(list(offs))
    return Difference(float(every.double().mean()), int(every.max()))
