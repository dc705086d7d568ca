"""The objects of a set of images: what every reader of boxes and masks returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang.data.images import ImageSet
from golang.data.objects.masks import Shapes
from golang.errors import DataError


class Found(NamedTuple):
    """The n objects of one image.

    Attributes:
        boxes: float32 [n, 4], x0, y0, x1, y1 in pixels of the upright image, within it, x1 > x0 and y1 > y0.
        classes: int64 [n], columns of `Objects.images.classes`.
        ignored: bool [n], COCO's crowds and VOC's difficult objects.
        areas: float32 [n], pixels as the file says: of the mask where there are masks.
    """

    boxes: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float32]


def of_size(image: Image.Image, images: ImageSet, sizes: npt.NDArray[np.int32], index: int) -> Image.Image:
    """`image`, which is number `index` of the set. Raises DataError when it is not of the size that its objects are
    marked in."""
    if image.size != tuple(sizes[index]):
        width, height = sizes[index]
        raise DataError(
            f"{images.path(index)} has {image.width} × {image.height} pixels, and its objects are marked in "
            f"{width} × {height}; restore the image that was marked, or mark this one"
        )
    return image


@dataclass(frozen=True, eq=False)
class Objects:
    """M objects in N images, in flat arrays that loader processes share: those of image i are offsets[i] to before
    offsets[i + 1], in the order of the file.

    Attributes:
        images: the images; `images.classes` names the classes.
        sizes: int32 [N, 2], width and height of the upright image.
        ids: int64 [N], what scorers call the images: the file's ids where all are whole numbers, else 1, 2, …
        offsets: int64 [N + 1].
        boxes: float64 [M, 4], x0, y0, x1, y1 as the file says them, which may be past the border by rounding; scorers
            take them, and `of` clips.
        classes: int64 [M]; ignored: bool [M]; areas: float64 [M].
        shapes: the masks; None for boxes alone.
    """

    images: ImageSet
    sizes: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]
    shapes: Shapes | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def of(self, index: int) -> Found:
        """The objects of image `index`."""
        own = self._range(index)
        corner = np.tile(self.sizes[index], 2)
        boxes = np.clip(self.boxes[own], 0, corner).astype(np.float32)
        return Found(boxes, self.classes[own], self.ignored[own], self.areas[own].astype(np.float32))

    def masks(self, index: int) -> npt.NDArray[np.bool_]:
        """bool [n, height, width], a mask for each object of image `index`. Raises DataError for a set of boxes alone,
        and, naming the package, where polygons cannot be drawn."""
        own = self._range(index)
        width, height = (int(side) for side in self.sizes[index])
        if self.shapes is None:
            raise DataError(f"{self.images.root}: the set has boxes alone, no masks; evaluate its boxes")
        found = np.empty((own.stop - own.start, height, width), dtype=np.bool_)
        for position, number in enumerate(range(own.start, own.stop)):
            found[position] = self.shapes.mask(number, height, width)
        return found

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB. Raises as `ImageSet.load` and `of_size`."""
        return of_size(self.images.load(index), self.images, self.sizes, index)

    def load_nearest(self, index: int) -> tuple[Image.Image, int]:
        """Image `index`, or the next readable one, and its index. Raises as `ImageSet.nearest` and `of_size`."""
        image, nearest = self.images.load_nearest(index)
        return of_size(image, self.images, self.sizes, nearest), nearest

    def subset(self, kept: npt.NDArray[np.int64], images: ImageSet) -> Objects:
        """The objects of the images `kept`, int64 [n], which `images` holds in that order."""
        counts = np.diff(self.offsets)[kept]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        own = np.repeat(self.offsets[kept] - offsets[:-1], counts) + np.arange(offsets[-1])
        return replace(self._picked(own), images=images, sizes=self.sizes[kept], ids=self.ids[kept], offsets=offsets)

    def with_classes(self, classes: tuple[str, ...]) -> Objects:
        """The same objects with the classes in another order. Raises ValueError for other classes."""
        if classes == self.images.classes:
            return self
        columns = np.array([classes.index(name) for name in self.images.classes], dtype=np.int64)
        return replace(self, images=self.images.with_classes(classes), classes=columns[self.classes])

    def _picked(self, own: npt.NDArray[np.int64]) -> Objects:
        shapes = None if self.shapes is None else self.shapes.of(own)
        return replace(
            self, boxes=self.boxes[own], classes=self.classes[own], ignored=self.ignored[own], areas=self.areas[own],
            shapes=shapes,
        )  # fmt: skip

    def _range(self, index: int) -> slice:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of a set of {len(self)}")
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))
