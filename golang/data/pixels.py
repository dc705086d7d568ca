"""An image file's bytes as a tensor: ordinary JPEGs by simplejpeg, bit for bit what Pillow makes of them; whatever is
odd is Pillow's to judge (`golang.data.decode`)."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golang.data.decode import MOST_PIXELS, decode


def pixels(data: bytes, upright: bool = False) -> Tensor:
    """What `decode` returns as uint8 [1, 3, H, W], channels_last; it does the work for all but ordinary JPEGs, or
    without simplejpeg. Raises as `decode` does."""
    decoded = _jpeg(data, upright)
    if decoded is None:
        decoded = np.array(decode(data, upright))  # a copy: torch wants memory that can be written
    return torch.from_numpy(decoded).permute(2, 0, 1)[None]


def _jpeg(data: bytes, upright: bool) -> npt.NDArray[np.uint8] | None:
    """A whole JPEG of one or three channels as [H, W, 3]; None for what is not simplejpeg's to decode."""
    simplejpeg = _simplejpeg()
    if simplejpeg is None or not data.startswith(b"\xff\xd8\xff") or (upright and b"Exif\0" in data):
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in ("YCbCr", "Gray") or height * width > MOST_PIXELS:
            return None
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", strict=True))
    except ValueError:  # damaged, or merely odd: Pillow decides, and says what is wrong
        return None


@functools.cache
def _simplejpeg() -> Any:  # noqa: ANN401 - a module
    with contextlib.suppress(ImportError):
        import simplejpeg

        return simplejpeg
    return None
