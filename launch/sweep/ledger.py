"""What happened in a sweep, in order: a file of JSON lines that is only ever appended to.

Every line has `time` (ISO 8601 with zone), `event`, `run` (its id, or ""), `folder` (the run folder's name in the
sweep, or ""), `submission` (the id of a submission, or ""), `job` (Slurm's, "123" or "123_4", or ""), and facts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from golang.errors import GolangError
from golang.runfolder.files import read_plain
from launch.sweep.paths import Sweep

Event = Literal[
    "intent",  # about to be handed to Slurm under that submission
    "submitted",  # Slurm took it and gave it that job
    "adopted",  # found in Slurm's queue by the submission's id
    "attempt",  # a job of the run began
    "restarted",  # its tasks died, and start again on the same nodes
    "requeued",  # stopped, and back in the queue
    "stopped",  # stopped and saved, and not in the queue
    "finished",
    "failed",
    "cancelled",
    "note",
]
_ALWAYS = ("run", "folder", "submission", "job")


class LedgerError(GolangError):
    """The ledger can't be written, so nothing may be submitted."""


def append(sweep: Path, event: Event, **facts: object) -> None:
    """Adds one line. Raises LedgerError if it can't be written."""
    append_all(sweep, [{"event": event, **facts}])


def append_all(sweep: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Adds several lines, each with its `event`, in one write: those of two writers never mix. Raises LedgerError."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    text = "".join(
        json.dumps({"time": stamp, "event": line["event"], **dict.fromkeys(_ALWAYS, ""), **line}, default=str) + "\n"
        for line in lines
    )
    path = Sweep(sweep).ledger
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = "\n" + text  # after a line of a writer that was killed: it must not swallow ours
            file.write(text.encode())
    except OSError as error:
        raise LedgerError(
            f"can't write to {path}: {error.strerror}; make room or choose another folder with runs_dir=PATH"
        ) from error


def read(sweep: Path) -> list[dict[str, Any]]:
    """All lines in order; a damaged one is passed over (`damaged` names those). Empty if there is no ledger."""
    return [line for line, _ in _lines(sweep) if line is not None]


def damaged(sweep: Path) -> list[int]:
    """The numbers, from 1, of lines that can't be read."""
    return [number for number, (line, text) in enumerate(_lines(sweep), start=1) if line is None and text.strip()]


def _lines(sweep: Path) -> list[tuple[dict[str, Any] | None, str]]:
    try:
        text = read_plain(Sweep(sweep).ledger, errors="replace")
    except OSError:
        return []
    return [(_parse(line), line) for line in text.split("\n")]


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("event"), str):
        return None
    whole = {"time": "", **dict.fromkeys(_ALWAYS, ""), **line}
    return whole if all(isinstance(whole[key], str) for key in ("time", *_ALWAYS)) else None
