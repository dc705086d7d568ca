"""Maps of classes painted from masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golang.data.objects.objects import Objects
from golang.data.objects.segments import BACKGROUND, IGNORED, Segments
from golang.errors import DataError


@dataclass(frozen=True, eq=False)
class Painted(Segments):
    """Maps of `objects`: crowds first, which count for no class, then the larger before the smaller; of equal ones the
    later over the earlier."""

    objects: Objects

    @classmethod
    def of_objects(cls, objects: Objects) -> Painted:
        """Raises DataError for boxes alone, and for more classes than a map can hold."""
        root, names = objects.images.root, objects.images.classes
        if objects.shapes is None:
            raise DataError(f"{root}: the set has boxes alone, no masks to segment by; annotate masks, or detect")
        if len(names) >= IGNORED:
            raise DataError(f"{root}: {len(names)} classes are more than the {IGNORED - 1} of a map; merge some")
        return cls(objects.images, objects.sizes, (BACKGROUND, *names), objects)

    def of(self, index: int) -> npt.NDArray[np.uint8]:
        width, height = self.sizes[index]
        found = np.zeros((height, width), dtype=np.uint8)
        own, masks = self.objects.of(index), self.objects.masks(index)
        for number in np.lexsort((-own.areas, ~own.ignored)):
            found[masks[number]] = IGNORED if own.ignored[number] else own.classes[number] + 1
        return found
