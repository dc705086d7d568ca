"""One view of an image with torch's antialiased resize and OpenCV's colour and blur: the fastest way on a processor.

Levels differ a little from Pillow's, by rounding and by the hue's finer steps (table in docs/performance.md).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golang.config.checks import NO_OPENCV
from golang.data.crops.device import box_radius, resized
from golang.data.crops.draw import CONTRAST, HUE, NEUTRAL, SATURATION, ViewParameters
from golang.errors import ConfigError

_Pixels = npt.NDArray[np.uint8]  # [s, s, 3]
_LUMA = np.tile(np.array([0.299, 0.587, 0.114, 0.0], np.float32), (3, 1))
_SAME = np.eye(3, dtype=np.float32)
_FLOOR = -0.499  # Pillow cuts off what OpenCV rounds


@functools.cache
def cv2() -> Any:  # noqa: ANN401 - a module
    """OpenCV on one thread: there are as many loader processes as processors. Raises ConfigError without it."""
    try:
        import cv2 as module
    except ImportError as error:
        raise ConfigError(NO_OPENCV) from error
    module.setNumThreads(0)
    return module


def apply(image: Tensor, parameters: ViewParameters, size: int) -> Tensor:
    """One view of an RGB image, uint8 [1, 3, H, W] (see `golang.data.pixels`), as uint8 [3, size, size]."""
    opencv = cv2()
    view: _Pixels = resized(image, parameters, size).permute(1, 2, 0).numpy()
    if parameters.flip:
        view = opencv.flip(view, 1)
    if parameters.color is not None:
        for index in parameters.color.order:
            factor = parameters.color.factors[index]
            if factor != NEUTRAL[index]:
                view = _adjusted(view, index, factor)
    if parameters.gray:
        view = opencv.cvtColor(opencv.cvtColor(view, opencv.COLOR_RGB2GRAY), opencv.COLOR_GRAY2RGB)
    if parameters.blur_radius is not None:
        kernel = _kernel(parameters.blur_radius)
        view = opencv.sepFilter2D(view, -1, kernel, kernel, borderType=opencv.BORDER_REPLICATE)
    planes = torch.empty(3, size, size, dtype=torch.uint8)
    opencv.split(view, list(planes.numpy()))  # written in place
    return planes


def _adjusted(view: _Pixels, kind: int, factor: float) -> _Pixels:
    """One of the four adjustments, as `draw.Color` counts them."""
    opencv = cv2()
    if kind == HUE:
        hsv = opencv.cvtColor(view, opencv.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(round(factor * 256) % 256)  # of 256 steps a circle: wraps by itself
        return np.asarray(opencv.cvtColor(hsv, opencv.COLOR_HSV2RGB_FULL))
    shift = _FLOOR
    if kind == CONTRAST:
        shift += (1 - factor) * math.floor(opencv.mean(opencv.cvtColor(view, opencv.COLOR_RGB2GRAY))[0] + 0.5)
    matrix = (1 - factor if kind == SATURATION else 0.0) * _LUMA
    matrix[:, :3] += factor * _SAME
    matrix[:, 3] = shift
    return np.asarray(opencv.transform(view, matrix))


def _kernel(radius: float) -> npt.NDArray[np.float32]:
    """Pillow's Gaussian as one kernel: an extended box, three times with itself."""
    box = box_radius(radius)
    reach = math.ceil(box)
    weights = np.array([min(box + 1 - abs(n), 1.0) for n in range(-reach, reach + 1)]) / (2 * box + 1)
    return np.convolve(np.convolve(weights, weights), weights).astype(np.float32)
