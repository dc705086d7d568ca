"""A set of image files, with or without labels: what every reader returns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N image files below one folder.

    File names lie end to end in one array: a list of 118 thousand strings would be copied page by page into every
    loader process, because reading a Python object writes its reference count.

    Attributes:
        root: folder the names are relative to.
        names: uint8, all file names end to end, in the file system's encoding.
        offsets: int64 [N + 1]; name i is names[offsets[i]:offsets[i + 1]].
        labels: uint8 [N, classes], 1 where the image holds an object of the class; None for unlabelled sets.
        classes: the names of the columns of `labels`; empty for unlabelled sets.
    """

    root: Path
    names: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        root: Path,
        names: Sequence[str],
        labels: npt.NDArray[np.uint8] | None = None,
        classes: tuple[str, ...] = (),
    ) -> ImageSet:
        """The set of the files `names`, relative to `root`, in the given order."""
        encoded = [os.fsencode(name) for name in names]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(name) for name in encoded], out=offsets[1:])
        return cls(root, np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets, labels, classes)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def path(self, index: int) -> Path:
        """Where image `index` lies, 0 ≤ index < N. Raises IndexError outside of that."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of a set of {len(self)}")
        return self.root / os.fsdecode(self.names[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def load(self, index: int) -> Image.Image:
        """Image `index`, decoded to RGB. EXIF orientation is not applied: the published pre-training does not.

        Raises DataError, naming the file, when it is missing or cannot be decoded.
        """
        path = self.path(index)
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes raise nearly anything in Pillow: OSError, SyntaxError, struct.error…
            raise DataError(
                f"cannot read image {index}, {path}: {type(error).__name__}: {error}\n"
                "restore this file from its archive (in a plain folder of images: or delete it), "
                "then start the same command again"
            ) from error
