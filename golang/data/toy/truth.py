"""What is true of generated scenes, as files of annotations have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PALETTE = [(83 * value * (channel + 1)) % 256 for value in range(256) for channel in range(3)]  # of maps, for people


def run_lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths of a mask, bool [height, width]: column by column, how many pixels are outside, then inside,
    then outside…"""
    flat = mask.T.reshape(-1)
    ends = np.flatnonzero(np.diff(flat, prepend=np.False_, append=~flat[-1:]))
    return [int(count) for count in np.diff(ends, prepend=0)]


def class_map(
    annotations: Sequence[Mapping[str, Any]], values: Mapping[int, int], height: int, width: int
) -> npt.NDArray[np.uint8]:
    """uint8 [height, width], the value of the category seen at each pixel; 0 for none."""
    found = np.zeros(height * width, dtype=np.uint8)
    for one in annotations:
        counts = one["segmentation"]["counts"]
        found[np.repeat(np.arange(len(counts)) % 2 == 1, counts)] = values[one["category_id"]]
    return found.reshape(width, height).T
