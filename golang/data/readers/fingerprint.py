"""What makes a set of one's own that set: the names, sizes and labels of its images."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from golang.data.images import ImageSet

DIGITS = 32


def fingerprint(images: ImageSet, sizes: npt.NDArray[np.int64] | None = None) -> str:
    """The first DIGITS hexadecimal digits of a SHA-256 over, in the order of the set, each name relative to
    `images.root` and the file's size in bytes (−1 where it is missing), then the classes and the labels. `sizes` are
    those of the images, where they are known already."""
    found = hashlib.sha256()
    for part in (images.offsets, images.names, images.sizes() if sizes is None else sizes):
        found.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
    found.update(json.dumps(images.classes).encode())
    if images.labels is not None:
        found.update(images.labels.tobytes())
    return found.hexdigest()[:DIGITS]
