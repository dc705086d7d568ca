"""Pictures that a run's evaluations left, small enough to be in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golang.runfolder.folder import RunFolder

RUNS = 6  # the best of those with any, whose pictures are shown
WIDEST = 1000  # pixels
TOGETHER = 1_200_000  # bytes of all pictures of a page
_LARGEST = 40_000_000  # bytes of a file, and pixels of a picture, that is looked at


@dataclass
class Pictures:
    """What is shown, and how many files of how many bytes are not."""

    shown: list[dict[str, Any]]  # run, name, width, height, source (a data: address), file
    left: int
    damaged: list[str]

    def told(self) -> str:
        """What is not on the page, or how what is differs from its file."""
        parts = []
        if self.shown:
            parts.append(
                f"Pictures of the best {RUNS} runs that have some, at most {WIDEST} pixels wide and "
                f"{TOGETHER / 1e6:g} MB together."
            )
        if self.left:
            parts.append(f"{self.left} more lie in the runs' folders, below evaluation/.")
        if self.damaged:
            parts.append(f"{len(self.damaged)} could not be read: {', '.join(self.damaged[:3])}.")
        return " ".join(parts)


def pictures(folders: Sequence[Path]) -> Pictures:
    """Of runs, the best first: as many as there is room for."""
    found, room, those = Pictures([], 0, []), TOGETHER, 0
    for folder in folders:
        files = list(_files(folder))
        those += bool(files)
        for file in files:
            name = str(file.relative_to(RunFolder(folder).evaluation).with_suffix(""))
            if those > RUNS or room <= 0:
                found.left += 1
                continue
            try:
                width, height, data = _small(file)
            except (OSError, ValueError, SyntaxError):
                found.damaged.append(f"{folder.name}: {name}")
                continue
            if len(data) > room:
                found.left += 1
                continue
            room -= len(data)
            source = "data:image/jpeg;base64," + base64.b64encode(data).decode()
            found.shown.append(
                {"run": folder.name, "name": name, "width": width, "height": height, "source": source,
                 "file": str(file)}
            )  # fmt: skip
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Attention first, then the evaluations' own; no curves, which the page draws."""
    run = RunFolder(folder)
    found = sorted([*run.evaluation.glob("*.png"), *run.evaluation.glob("*/*.png")])
    found.sort(key=lambda path: path != run.attention_file)
    return (path for path in found if path != run.curves_file and path.is_file() and not path.is_symlink())


def _small(file: Path) -> tuple[int, int, bytes]:
    """Width, height and JPEG of a picture. Raises OSError, ValueError or SyntaxError for one that is damaged."""
    from PIL import Image

    if file.stat().st_size > _LARGEST:
        raise ValueError(f"{file} is too large")
    try:
        with Image.open(file, formats=["PNG"]) as opened:
            if opened.width * opened.height > _LARGEST:
                raise ValueError(f"{file} has too many pixels")
            picture = opened.convert("RGBA")
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    plain = paper.convert("RGB")
    plain.thumbnail((WIDEST, 4 * WIDEST))
    written = io.BytesIO()
    plain.save(written, "JPEG", quality=82, optimize=True)
    return plain.width, plain.height, written.getvalue()
