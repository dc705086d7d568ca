"""From an image file to RGB pixels: what counts as readable, and how odd files are converted.

Readable is what Pillow decodes to the last row, by content and not by suffix. An error of the network or the disk says
nothing about the image: it is tried again and in the end raised, for a run must not depend on a file server's moods.
Ordinary JPEGs can be had faster as a tensor (`pixels`), bit for bit the same; whatever is odd is Pillow's to judge.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import stat
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from golang.errors import DataError, StorageError

MOST_PIXELS = 2**28  # 16,384 × 16,384: 0.8 GB as RGB, and as much again for a crop of nearly everything
PAUSES = (0.1, 0.5, 2.0, 5.0)  # seconds before each new try at reading a file
TRANSIENT = frozenset((
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ECONNRESET, errno.ENOTCONN,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EMFILE, errno.ENFILE,
))  # fmt: skip


class UnreadableImageError(DataError):
    """A file that is missing, or whose bytes are no whole image."""


def read(path: Path, upright: bool = False) -> Image.Image:
    """The image in a file as RGB: `decode` of its bytes. Raises UnreadableImageError as `decode` does or when the file
    cannot be opened, and StorageError when the storage fails however often it is tried."""
    return decode(read_bytes(path), upright)


def read_bytes(path: Path) -> bytes:
    """A file's content, tried again after an error that may pass. Raises as `read` does."""
    for pause in (*PAUSES, None):
        try:
            return _content(path)
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise UnreadableImageError(f"{type(error).__name__}: {error.strerror or error}") from error
            if pause is None:
                raise StorageError(
                    f"{path} could not be read in {len(PAUSES) + 1} tries: {error.strerror}; check the storage, then "
                    "start the same command again (if this file alone fails, restore or delete it)"
                ) from error
        time.sleep(pause)
    raise AssertionError("unreachable")


def _content(path: Path) -> bytes:
    """Without blocking: a pipe that nobody writes to would hold a run up for ever."""
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UnreadableImageError("it is a pipe or a device, no file")
        return file.readall()


def decode(data: bytes, upright: bool = False) -> Image.Image:
    """The bytes of an image file as RGB, turned as its EXIF orientation says if `upright`.

    16 bits are scaled to 8; of several frames the first is taken; an alpha channel is dropped, as in the published
    pre-training. Raises UnreadableImageError for anything that is no whole image, and for more than MOST_PIXELS.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    with opened(io.BytesIO(data)) as image:
        image.load()
        return _scaled(_turned(image) if upright else image).convert("RGB")


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


@contextlib.contextmanager
def opened(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """An image of which only the header has been read. What fails while it is open raises as `decode` does."""
    bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # Pillow's own, which raises below ours
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd but readable files
            with Image.open(source) as image:
                if image.width * image.height > MOST_PIXELS:
                    size = f"{image.width} × {image.height} pixels"
                    raise UnreadableImageError(f"{size} are more than {MOST_PIXELS:,}; scale it down")
                yield image
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("its bytes are no image in any known format") from error
    except Exception as error:  # damaged bytes raise nearly anything in Pillow: OSError, SyntaxError, struct.error…
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = bound


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block, which says nothing: the pixels are whole
        return image


def _scaled(image: Image.Image) -> Image.Image:
    """16-bit grayscale as 8 bits; Pillow would cut off everything above 255."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image, dtype=np.float64)
    return Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
