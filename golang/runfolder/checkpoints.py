"""A run's checkpoint files: their names, which of them an attempt stands on, which are whole, and room for more.

A file is what torch.save writes, a zip archive, whose archive comment is the SHA-256 of everything before it: the seal.
Whether a file is whole is the seal's to say, without reading what it holds.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from golang.errors import CheckpointError
from golang.runfolder.folder import Attempt, RunFolder

MARK = b"sha256:"
SEAL = len(MARK) + 64
_BLOCK = 2**22  # bytes read at a time


@dataclass(frozen=True)
class Entry:
    """A checkpoint file, by its name."""

    path: Path
    step: int
    attempt: int

    @classmethod
    def of(cls, path: Path) -> Entry | None:
        """None for a file that is no run's checkpoint."""
        match = re.fullmatch(r"step_(\d+)\.a(\d+)\.pt", path.name)
        return cls(path, int(match[1]), int(match[2])) if match else None

    @classmethod
    def at(cls, run: RunFolder, step: int, attempt: int) -> Entry:
        return cls(run.checkpoints / f"step_{step:08d}.a{attempt:02d}.pt", step, attempt)


def entries(run: RunFolder) -> list[Entry]:
    """Every checkpoint file of the run, in no order."""
    return [entry for path in run.checkpoints.glob("step_*.pt") if (entry := Entry.of(path))]


def lineage(run: RunFolder, attempt: int | None = None) -> list[Entry]:
    """The checkpoints that an attempt (default: the newest) stands on, best first.

    Its own, then those of the attempt it continued up to the step it continued from, and so on: what a superseded
    attempt wrote after it was overtaken is never among them.
    """
    numbers = run.attempt_numbers()
    current = attempt if attempt is not None else (numbers[-1] if numbers else None)
    everything, chain, limit, seen = entries(run), [], None, set()
    while current is not None and current not in seen:
        seen.add(current)
        own = [e for e in everything if e.attempt == current and (limit is None or e.step <= limit)]
        chain += sorted(own, key=lambda entry: -entry.step)
        parent = Entry.of(Path(str(Attempt(run, current).start().get("resumed_from"))))
        if parent is None:
            break
        current, limit = parent.attempt, parent.step
    return chain


def latest(run: RunFolder) -> Path | None:
    """The best whole checkpoint of the newest lineage; a damaged one is named in the log and passed over."""
    for entry in lineage(run):
        try:
            check_seal(entry.path)
        except CheckpointError as error:
            import logging  # which tools that only read names need not wait for

            logging.getLogger(__name__).warning("%s; going back to the one before it", error)
        else:
            return entry.path
    return None


def find(path: Path) -> Path:
    """A checkpoint file, or the newest whole one of a run's folder. Raises CheckpointError when there is none."""
    if path.is_dir():
        found = latest(RunFolder(path))
        if found is None:
            raise CheckpointError(f"{path} holds no whole checkpoint of a run; give a checkpoint's file")
        return found
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give a checkpoint's file, or a run's folder")
    return path


def is_sealed(path: Path) -> bool:
    """Whether a file ends with a seal, be it whole or not. Raises OSError."""
    with path.open("rb") as file:
        file.seek(-min(SEAL, path.stat().st_size), os.SEEK_END)
        return file.read().startswith(MARK)


def check_seal(path: Path) -> None:
    """Raises CheckpointError for a file that cannot be read, or is not what was written."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            left = path.stat().st_size - SEAL
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
            seal = file.read()
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    if seal != MARK + digest.hexdigest().encode():
        raise CheckpointError(f"{path} is damaged: its checksum does not hold")


def check_room(run: RunFolder, size: int, count: int) -> None:
    """Raises CheckpointError where checkpoints of `size` bytes, `count` in all, will not fit beside what is there."""
    needed = size * max(1, count - len(entries(run)))
    free = shutil.disk_usage(run.checkpoints).free
    if free < needed:
        raise CheckpointError(
            f"this run's checkpoints need {human(needed)} more ({human(size)} each), but {run.checkpoints} "
            f"has {human(free)} free; make room, keep fewer (checkpoint.keep_last, "
            "checkpoint.keep_every_epochs=0), or choose another place with runs_dir=PATH"
        )


def human(size: float) -> str:
    """A number of bytes as a person writes it."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
