"""From an image file to RGB pixels: what counts as readable, and how odd files are converted.

Readable is what Pillow decodes to the last row, by content and not by suffix. An error of the network or the disk says
nothing about the image: it is tried again and in the end raised, for a run must not depend on a file server's moods.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from golang.errors import DataError, StorageError

with contextlib.suppress(ImportError):  # optional: then Pillow reads HEIC
    import pillow_heif

    pillow_heif.register_heif_opener()

MOST_PIXELS = 2**28  # 16,384 × 16,384: 0.8 GB as RGB, and as much again for a crop of nearly everything
MOST_TEXT = 2**26  # bytes of a PNG's colour profile or text, unpacked; Pillow's own bound is 2**20
# Suffixes of photographs, in folders that nobody has listed.
_SUFFIXES = frozenset((
    ".avif", ".bmp", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".png", ".tif",
    ".tiff", ".webp",
))  # fmt: skip
_BEGUN = tuple(f"{format} opening" for format in ("AVIF", "BMP", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP"))
PAUSES = (0.1, 0.5, 2.0, 5.0)  # seconds before each new try at reading a file
TRANSIENT = frozenset((
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ECONNRESET, errno.ENOTCONN,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EMFILE, errno.ENFILE,
))  # fmt: skip


class UnreadableImageError(DataError):
    """A file that is missing, or whose bytes are no whole image."""


@functools.cache
def suffixes() -> tuple[str, ...]:
    """The suffixes of photographs that the Pillow here reads, in lower case."""
    return tuple(sorted(_SUFFIXES & Image.registered_extensions().keys()))


def read(path: Path, upright: bool = False) -> Image.Image:
    """The image in a file as RGB: `decode` of its bytes. Raises UnreadableImageError as `decode` does or when the file
    cannot be opened, and StorageError when the storage fails however often it is tried."""
    return decode(read_bytes(path), upright)


def read_bytes(path: Path) -> bytes:
    """A file's content, tried again after an error that may pass. Raises as `read` does."""
    return patiently(lambda: _content(path), path)


def patiently(content: Callable[[], bytes], path: Path) -> bytes:
    """What `content` reads from the file `path`, tried again after an error that may pass. Raises as `read` does."""
    for pause in (*PAUSES, None):
        try:
            return content()
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
    pre-training. Raises UnreadableImageError for anything that is no whole image, for more than MOST_PIXELS, and for
    pixels whose range the file does not say.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    with opened(io.BytesIO(data)) as image:
        image.load()
        return _scaled(_turned(image) if upright else image).convert("RGB")


@contextlib.contextmanager
def opened(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """An image of which only the header has been read. What fails while it is open raises as `decode` does."""
    bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # Pillow's own, which raises below ours
    text, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, MOST_TEXT
    wordy, Image.WARN_POSSIBLE_FORMATS = Image.WARN_POSSIBLE_FORMATS, True  # why each format is not the file's
    warned: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as warned:  # also of odd but readable files, which nobody needs
            warnings.simplefilter("always")
            with Image.open(source) as image:
                if image.width * image.height > MOST_PIXELS:
                    size = f"{image.width} × {image.height} pixels"
                    raise UnreadableImageError(f"{size} are more than {MOST_PIXELS:,}; scale it down")
                yield image
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"its bytes are no image in any known format{_why(warned)}") from error
    except Exception as error:  # damaged bytes raise nearly anything in Pillow: OSError, SyntaxError, struct.error…
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, Image.WARN_POSSIBLE_FORMATS = bound, text, wordy


def _why(warned: Sequence[warnings.WarningMessage]) -> str:
    """What Pillow says of a file that begins like a photograph and is of a kind that it does not read."""
    said = [str(warning.message) for warning in warned]
    found = [line for line in said if line.startswith(_BEGUN) or "support not installed" in line]
    return f" ({found[0].replace(' opening failed. ', ': ')})" if found else ""


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block, which says nothing: the pixels are whole
        return image


def _scaled(image: Image.Image) -> Image.Image:
    """16-bit grayscale as 8 bits; Pillow would cut off everything above 255."""
    if image.mode == "F":
        raise UnreadableImageError("its pixels are floating-point numbers of any range; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image, dtype=np.float64)
    if values.max() > 65535:
        raise UnreadableImageError("its pixels have more than 16 bits; save it with 8 or 16")
    return Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
