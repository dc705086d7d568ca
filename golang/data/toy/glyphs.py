"""The things to be seen in a generated scene: pictograms of the DejaVu faces, as alpha masks.

DejaVu travels with matplotlib, so nothing is downloaded and every machine draws the same shapes.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from golang.errors import DataError

SIDE = 96  # pixels of a mask
MARGIN = 3  # empty pixels around the glyph, so that a warped mask fades out instead of being cut
FRAME = SIDE / (SIDE - 2 * MARGIN)  # side of a mask, in sides of the glyph's box
ALIKE = 0.9  # two renderings of one glyph whose masks overlap more than this count as one

# One class is one character; a line is a scene of the default set. Shapes were picked to differ from one another at 64
# pixels: no queen beside the king, no second round face, no arrows.
# fmt: off
_CHARACTERS = {
    "sun": 0x2600, "cloud": 0x2601, "umbrella": 0x2602, "flower": 0x273F, "club": 0x2663,  # garden
    "scissors": 0x2702, "envelope": 0x2709, "telephone": 0x260E, "pencil": 0x270F, "gear": 0x2699,  # desk
    "knight": 0x265E, "rook": 0x265C, "die": 0x2684, "star": 0x2605, "heart": 0x2665,  # games
    "airplane": 0x2708, "anchor": 0x2693, "skull": 0x2620, "yin-yang": 0x262F, "note": 0x266B,  # voyage
    "hammers": 0x2692, "scales": 0x2696, "alembic": 0x2697, "lightning": 0x26A1, "hand": 0x261B,  # workshop
    "warning": 0x26A0, "recycling": 0x267B, "biohazard": 0x2623, "wheelchair": 0x267F, "peace": 0x262E,  # signs
    "snowflake": 0x2744, "moon": 0x263E, "house": 0x2302, "flag": 0x2691, "keyboard": 0x2328,  # winter
    "cat": 0x1F431, "smiley": 0x263B, "ankh": 0x2625, "pen nib": 0x2712, "check mark": 0x2714,  # emblems
}
# fmt: on
NAMES = tuple(_CHARACTERS)

Array = np.ndarray[Any, Any]
Face = tuple[frozenset[int], ImageFont.FreeTypeFont]  # the characters it has, and itself
_FACES = ("Sans", "Sans-Bold", "SansMono", "SansMono-Bold", "Serif", "Serif-Bold")


@dataclass(frozen=True)
class Glyph:
    """One rendering of a class.

    `pyramid` holds it as square 8-bit alpha images, largest first, each 1/√2 of the one before: a warp that shrinks
    reads the level of about its own size and needs no further smoothing. `scale` says how much larger than others to
    draw it, so that all glyphs cover about the same area and area tells little of the class.
    """

    pyramid: tuple[Image.Image, ...]
    scale: float

    def level(self, side: float) -> Image.Image:
        """The smallest image that is at least `side` pixels wide, or the largest there is."""
        return next((image for image in reversed(self.pyramid) if image.width >= side), self.pyramid[0])


@functools.lru_cache(maxsize=4)
def load(classes: int, side: int = SIDE) -> tuple[tuple[Glyph, ...], ...]:
    """The distinct renderings of each of the first `classes` names, at `side` pixels. Raises DataError without
    matplotlib or its fonts."""
    faces = _faces(side)
    images = [_renderings(_CHARACTERS[name], faces, side) for name in NAMES[:classes]]
    inks = [[float(np.asarray(image, np.float32).mean()) for image in renderings] for renderings in images]
    median = float(np.median([np.mean(row) for row in inks]))
    scales = [[min(1.3, max(0.7, math.sqrt(median / ink))) for ink in row] for row in inks]
    return tuple(tuple(map(Glyph, map(_pyramid, row), scale)) for row, scale in zip(images, scales, strict=True))


def _faces(side: int) -> list[Face]:
    """The DejaVu faces, each with the characters it has."""
    try:
        import matplotlib
        from matplotlib.ft2font import FT2Font
    except ImportError as error:
        raise DataError("drawing data=toy needs the fonts that come with matplotlib: pip install matplotlib") from error
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = []
    for face in _FACES:
        path = folder / f"DejaVu{face}.ttf"
        if not path.is_file():
            raise DataError(f"{path} is missing from matplotlib: pip install --force-reinstall matplotlib")
        characters: Any = FT2Font(str(path)).get_charmap()
        # Twice the size, shrunk afterwards: smoother edges. Layout.BASIC, because other layout engines may be absent.
        font = ImageFont.truetype(str(path), 2 * side, layout_engine=ImageFont.Layout.BASIC)
        faces.append((frozenset(map(int, characters)), font))
    return faces


def _renderings(character: int, faces: list[Face], side: int) -> list[Image.Image]:
    """The character in every face that has it, without near-duplicates."""
    kept: list[tuple[Image.Image, Array]] = []
    for characters, font in faces:
        if character not in characters:
            continue
        image = _fit(chr(character), font, side)
        alpha = np.asarray(image, np.float32)
        if all(np.minimum(alpha, seen).sum() < ALIKE * np.maximum(alpha, seen).sum() for _, seen in kept):
            kept.append((image, alpha))
    if not kept:
        raise DataError(f"no DejaVu face of this matplotlib has U+{character:04X}: pip install -U matplotlib")
    return [image for image, _ in kept]


def _fit(text: str, font: ImageFont.FreeTypeFont, side: int) -> Image.Image:
    """`text` in the middle of a square of `side` pixels, its longer dimension filling all but the margin."""
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    large = Image.new("L", (right - min(0, left), bottom - min(0, top)), 0)
    ImageDraw.Draw(large).text((-min(0, left), -min(0, top)), text, font=font, fill=255)
    large = large.crop(large.getbbox())  # the font's own box includes space around the ink
    box = round(side / FRAME)
    fitted = ImageOps.contain(large, (box, box), Image.Resampling.BOX)
    square = Image.new("L", (side, side), 0)
    square.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2))
    return square


def _pyramid(image: Image.Image) -> tuple[Image.Image, ...]:
    sides = [image.width]
    while sides[-1] > 16:
        sides.append(round(image.width / 2 ** (len(sides) / 2)))
    return tuple(image if side == image.width else image.resize((side, side), Image.Resampling.BOX) for side in sides)
