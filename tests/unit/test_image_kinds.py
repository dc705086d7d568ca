"""Kinds of image files: what this Pillow reads, 16 bits, big colour profiles, and why a file is unreadable."""

from __future__ import annotations

import io
import struct
import sys
import types
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, PngImagePlugin

from golang.config import Data
from golang.data import check, decode, sets
from golang.data.decode import UnreadableImageError

COLOR = (200, 10, 90)
SIXTEEN = np.broadcast_to(np.array([0, 32896, 65535]), (2, 2, 3))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: npt.NDArray[np.generic], *extra: bytes) -> bytes:
    """A PNG of uint8 or uint16 [H, W, 1 or 3], with more chunks."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, values.dtype.itemsize * 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(values: npt.NDArray[np.generic]) -> bytes:
    """An uncompressed TIFF of [H, W, channels]."""
    height, width, channels = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits, place = values.dtype.itemsize * 8, 8 + 2 + 12 * 10 + 4  # behind the directory
    lists = struct.pack(f"<{2 * channels}H", *[bits] * channels, *[kind] * channels)
    pixels = place + len(lists)
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, place if channels > 2 else bits), (259, 3, 1, 1),
        (262, 3, 1, 2 if channels == 3 else 1), (273, 4, 1, pixels), (277, 3, 1, channels), (278, 3, 1, height),
        (279, 4, 1, values.nbytes), (339, 3, channels, place + 2 * channels if channels > 2 else kind),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0) + lists + values.tobytes()


@pytest.mark.parametrize(
    ("suffix", "format"),
    [
        ("tif", "TIFF"), ("TIFF", "TIFF"), ("bmp", "BMP"), ("webp", "WEBP"), ("jp2", "JPEG2000"), ("J2K", "JPEG2000"),
        ("avif", "AVIF"), ("JPEG", "JPEG"), ("jfif", "JPEG"), ("Png", "PNG"),
    ],
)  # fmt: skip
def test_kinds_that_this_pillow_reads(tmp_path: Path, suffix: str, format: str) -> None:
    Image.new("RGB", (8, 8), COLOR).save(tmp_path / f"a.{suffix}", format)
    images = sets.open_train(Data(name="folder", root=str(tmp_path)))
    assert np.abs(np.asarray(images.load(0)).astype(int)[0, 0] - COLOR).max() < 4
    assert check.inspect(tmp_path / f"a.{suffix}") is None and images.passed_over == {}


@pytest.fixture
def fresh() -> Iterator[None]:
    decode.suffixes.cache_clear()
    yield
    decode.suffixes.cache_clear()


def test_kinds_that_it_does_not_read_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    known = {suffix: kind for suffix, kind in Image.registered_extensions().items() if suffix not in (".avif", ".heic")}
    monkeypatch.setattr(Image, "registered_extensions", lambda: known)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for name in ("b.avif", "c.HEIC"):
        (tmp_path / name).touch()
    images = sets.open_train(Data(name="folder", root=str(tmp_path)))
    assert len(images) == 1 and images.passed_over == {".avif": 1, ".heic": 1}
    assert ".heic files need pillow-heif: pip install pillow-heif" in images.said
    known[".heic"] = "HEIF"
    decode.suffixes.cache_clear()
    assert len(sets.open_train(Data(name="folder", root=str(tmp_path)))) == 2


def test_pillow_heif_is_made_known_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    module = types.ModuleType("pillow_heif")
    module.register_heif_opener = lambda: called.append(1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    source = Path(decode.__file__).read_text()
    exec(compile(source, decode.__file__, "exec"), {"__name__": "again"})
    assert called == [1]


@pytest.mark.parametrize("made", [png, tiff])
def test_16_bits_are_scaled(made) -> None:
    for values in (SIXTEEN.astype("<u2"), SIXTEEN[:, :, :1].astype("<u2"), SIXTEEN[:, :, 1:2].astype("<u2")):
        found = np.asarray(decode.decode(made(values)))
        assert found.shape == (2, 2, 3) and (found == (values // 257).astype(np.uint8)).all()


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"k\0" + b"c" * 3_000_000),
        chunk(b"zTXt", b"k\0\0" + zlib.compress(b"b" * 3_000_000)),
        chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"d" * 3_000_000)),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_a_big_profile_or_text_is_no_damage(extra: bytes) -> None:
    data, bound = png(np.full((2, 2, 3), 7, np.uint8), extra), PngImagePlugin.MAX_TEXT_CHUNK
    assert decode.decode(data).getpixel((0, 0)) == (7, 7, 7)
    assert PngImagePlugin.MAX_TEXT_CHUNK == bound < 3_000_000, "other users of Pillow keep theirs"


def test_a_text_that_fills_the_memory_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MOST_TEXT", 1000)
    with pytest.raises(UnreadableImageError, match="too large"):
        decode.decode(png(np.zeros((2, 2, 3), np.uint8), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2000)))))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(np.zeros((2, 2, 1), "<f4")), "floating-point numbers of any range; save it with 8 or 16 bits"),
        (tiff(np.full((2, 2, 1), 70_000, "<i4")), "its pixels have more than 16 bits"),
        (tiff(np.zeros((2, 2, 3), "<u4")), r"no image in any known format \(TIFF: unknown pixel mode\)"),
        (tiff(np.zeros((2, 2, 5), "<u1")), r"no image in any known format \(TIFF: unknown pixel mode\)"),
        (b"\xff\xd8\xffgarbage", r"no image in any known format \(JPEG: no marker found\)"),
        (b"hello world", r"no image in any known format$"),
    ],
)
def test_why_a_file_is_unreadable(data: bytes, reason: str) -> None:
    for _ in range(2):
        with pytest.raises(UnreadableImageError, match=reason):
            decode.decode(data)
    assert not Image.WARN_POSSIBLE_FORMATS, "other users of Pillow keep theirs"


def test_a_suffix_that_lies_is_told(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "TIFF")
    (tmp_path / "a.webp").write_bytes(stream.getvalue())
    assert check.inspect(tmp_path / "a.webp") == (
        "converted",
        "in another format than their suffix says (TIFF in .webp)",
    )
