"""matplotlib, without its global state and only where something is drawn."""

from __future__ import annotations

import importlib
import io
from typing import Any

from golang.errors import DataError

INK = "#333333"


class MissingMatplotlibError(DataError):
    """There is nothing to draw with."""


def matplotlib(module: str) -> Any:  # noqa: ANN401 - matplotlib has no types here
    """One of its modules. Raises MissingMatplotlibError."""
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise MissingMatplotlibError(f"pictures need matplotlib ({error}): pip install 'matplotlib>=3.8'") from error


def figure(width: float, height: float) -> Any:  # noqa: ANN401 - matplotlib has no types here
    """A figure of its own, in inches, without pyplot: no display is touched. Raises MissingMatplotlibError."""
    return matplotlib("figure").Figure(figsize=(width, height), layout="constrained", facecolor="white")


def png(figure: Any, dots_per_inch: int = 150) -> bytes:  # noqa: ANN401 - matplotlib has no types here
    """The figure as a PNG file's content."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dots_per_inch, format="png")
    return file.getvalue()
