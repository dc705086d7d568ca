"""A table in colour on a terminal, where rich is installed; plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import IO

Row = Sequence[str]


def show(columns: Row, rows: Sequence[Row], strong: Callable[[Row], bool], out: IO[str], title: str = "") -> None:
    """Writes `rows`, the `strong` ones bold; plain lines have the title, or else the columns' names, above them."""
    if out.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.table import Table

            table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
            for row in rows:
                table.add_row(*row, style="bold" if strong(row) else None)
            Console(file=out).print(table)
            return
    above, indent = ([title], "  ") if title else ([], "")
    lines = [*rows] if title else [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        above.append(indent + "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    out.write("\n".join(above) + "\n")
