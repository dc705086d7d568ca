"""What the pictures share: colours, how they are kept, and how long a name on them may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from golang.disk import whole
from golang.drawing import png
from golang.runfolder import files

# Okabe and Ito's palette: told apart with any colour vision.
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def save(figure: Any, path: Path) -> Path:  # noqa: ANN401 - matplotlib has no types here
    """Writes a picture, whole or not at all."""
    files.make_private(path.parent)
    whole.put(path, lambda file: file.write(png(figure)), durable=False)
    return path


def short(text: str, longest: int = 40) -> str:
    """A long text without its middle."""
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-longest // 2 :]}"
