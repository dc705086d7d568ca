"""The sizes of images, from their headers."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from golang.data.decode import UnreadableImageError, opened
from golang.data.images import ASKING, REMEDY, ImageSet
from golang.errors import DataError

_TURNED = (5, 6, 7, 8)  # EXIF's orientations that swap width and height


def measured(images: ImageSet, rows: npt.NDArray[np.int64], lenient: bool = False) -> npt.NDArray[np.int32]:
    """Width and height of the images `rows`, int32 [n, 2], as `images.load` would turn them. For one that is no image
    raises DataError, naming the file; if `lenient`, it is of 0 × 0."""

    def size(row: np.int64) -> tuple[int, int]:
        try:
            return _size(images, int(row))
        except DataError:
            if lenient:
                return 0, 0
            raise

    with ThreadPoolExecutor(ASKING) as pool:
        found = list(pool.map(size, rows))
    return np.array(found, dtype=np.int32).reshape(-1, 2)


def _size(images: ImageSet, row: int) -> tuple[int, int]:
    try:
        with opened(io.BytesIO(images.content(row))) as image:
            return size_of(image, images.upright)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"cannot read image {row}, {images.path(row)}: {error}\n{REMEDY}") from error


def size_of(image: Image.Image, upright: bool) -> tuple[int, int]:
    """Width and height of an open image, turned as its EXIF orientation says if `upright`."""
    turned = upright and image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    return (image.height, image.width) if turned else image.size
