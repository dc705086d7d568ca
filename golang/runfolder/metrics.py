"""metrics.jsonl: one line a log step, cut back to the restored step on resume."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golang.runfolder import files

_loads: Callable[[str], Any] = json.loads
with contextlib.suppress(ImportError):
    import orjson  # at a quarter of the time

    _loads = orjson.loads

# Keys whose values depend on the machine's mood; everything else repeats exactly.
TIMINGS = frozenset({"time", "attempt", "images_per_second", "data_wait_seconds", "step_seconds"})


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a half-written one is excluded."""
    return lines_of(path.read_text(errors="replace")) if path.is_file() else []


def lines_of(written: str) -> list[dict[str, Any]]:
    """Those of a text that can be read."""
    lines = []
    for text in written.splitlines():
        try:
            line = _parsed(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and type(line.get("step")) is int:
            lines.append(line)
    return lines


def _parsed(text: str) -> Any:  # noqa: ANN401 - it is any JSON
    """Raises ValueError or RecursionError."""
    try:
        return _loads(text)
    except ValueError:
        return json.loads(text)  # reads NaN and Infinity, too


class Tail:
    """Reads a metrics file as it grows: each whole line once, in order."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""  # of a line that is half-written

    def read(self) -> list[dict[str, Any]]:
        """The lines that came since the last call."""
        whole, newline, self._rest = (self._rest + self._file.read()).rpartition(b"\n")
        return lines_of(whole.decode(errors="replace")) if newline else []


class MetricsLog:
    """Appends to metrics.jsonl from `step` on: lines of later steps, written by an attempt that went further, go.

    The file is replaced rather than shortened, so a superseded attempt's open handle points at a file without a name.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        files.write(path, "".join(json.dumps(line) + "\n" for line in kept), durable=False)
        self._file = path.open("a", buffering=1)

    def write(self, line: dict[str, Any]) -> None:
        """Adds one line; needs the key `step`."""
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()
