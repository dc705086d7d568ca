"""The class of every pixel of a set of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang.data.images import ImageSet
from golang.data.objects.objects import of_size

IGNORED = 255  # of a pixel that counts for no class
BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class Segments(ABC):
    """Maps of N images.

    Attributes:
        images: the images.
        sizes: int32 [N, 2], width and height of the upright image.
        classes: the names of the values in the maps, background first.
    """

    images: ImageSet
    sizes: npt.NDArray[np.int32]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB. Raises as `ImageSet.load` and `of_size`."""
        return of_size(self.images.load(index), self.images, self.sizes, index)

    def load_nearest(self, index: int) -> tuple[Image.Image, int]:
        """Image `index`, or the next readable one, and its index. Raises as `ImageSet.nearest` and `of_size`."""
        image, nearest = self.images.load_nearest(index)
        return of_size(image, self.images, self.sizes, nearest), nearest

    @abstractmethod
    def of(self, index: int) -> npt.NDArray[np.uint8]:
        """uint8 [height, width], the class of each pixel of image `index`; IGNORED where it counts for none. Raises
        DataError, naming the file, for a map that is missing, damaged, or of another size than the image."""
