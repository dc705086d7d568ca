"""Checkpoints: one atomic file each, with a checksum, found by lineage and kept by a rule.

A file is what torch.save writes, a zip archive, whose archive comment is the SHA-256 of everything before it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from golang.engine.runfolder import Attempt, RunFolder
from golang.errors import CheckpointError

log = logging.getLogger(__name__)
MARK = b"sha256:"
SEAL = len(MARK) + 64


def file_name(step: int, attempt: int) -> str:
    return f"step_{step:08d}.a{attempt:02d}.pt"


@dataclass(frozen=True)
class Entry:
    """A checkpoint file, by its name."""

    path: Path
    step: int
    attempt: int


def entries(run: RunFolder) -> list[Entry]:
    """Every checkpoint file of the run, in no order."""
    found = []
    for path in run.checkpoints.glob("step_*.pt"):
        if match := re.fullmatch(r"step_(\d+)\.a(\d+)\.pt", path.name):
            found.append(Entry(path, int(match[1]), int(match[2])))
    return found


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
        match = re.fullmatch(r"step_(\d+)\.a(\d+)\.pt", run.parent_checkpoint(current) or "")
        if match is None:
            break
        current, limit = int(match[2]), int(match[1])
    return chain


class _Seal:
    """A file that torch.save writes to, which hashes what passes and ends with the seal. It holds two bytes back: the
    zip's last field, the length of the comment that the seal is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._last = file, hashlib.sha256(), b""
        self.error: OSError | None = None  # torch makes a riddle of it

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        if len(view) < 2:
            view = memoryview(self._last + bytes(view))
        else:
            self._pass(self._last)
        self._pass(view[:-2])
        self._last = bytes(view[-2:])
        return len(data)

    def flush(self) -> None:
        """What is held back stays so."""

    def close(self) -> None:
        self._pass(SEAL.to_bytes(2, "little"))
        self._file.write(MARK + self._digest.hexdigest().encode())

    def _pass(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise


def encode(state: Mapping[str, Any], file: BinaryIO) -> None:
    """Writes a checkpoint to an open file as it is worked out, without a copy of it in memory. Raises OSError."""
    seal = _Seal(file)
    try:
        torch.save(state, seal)  # type: ignore[arg-type]
    except RuntimeError:
        if seal.error is not None:
            raise seal.error from None
        raise
    seal.close()


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Puts a checkpoint at `path` whole or not at all, and durably. Raises OSError."""
    put(path, lambda file: encode(state, file))


def put(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Puts what `fill` writes at `path`, whole or not at all, and durably. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_room(run: RunFolder, size: int, files: int) -> None:
    """Raises CheckpointError where checkpoints of `size` bytes, `files` in all, will not fit beside what is there."""
    needed = size * max(1, files - len(entries(run)))
    free = shutil.disk_usage(run.checkpoints).free
    if free < needed:
        raise CheckpointError(
            f"this run's checkpoints need {_human(needed)} more ({_human(size)} each), but {run.checkpoints} "
            f"has {_human(free)} free; make room, keep fewer (checkpoint.keep_last, "
            "checkpoint.keep_every_epochs=0), or choose another place with runs_dir=PATH"
        )


def _human(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _free(folder: Path) -> str:
    try:
        return _human(shutil.disk_usage(folder).free)
    except OSError:
        return "unknown amounts"


def is_sealed(path: Path) -> bool:
    """Whether a file ends as `encode` ends it, be it whole or not. Raises OSError."""
    with path.open("rb") as file:
        file.seek(-min(SEAL, path.stat().st_size), os.SEEK_END)
        return file.read().startswith(MARK)


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's state on the CPU, after its checksum held. Raises CheckpointError if it is damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    archive, seal = data[:-SEAL], data[-SEAL:]
    if seal != MARK + hashlib.sha256(archive).hexdigest().encode():
        raise CheckpointError(f"{path} is damaged: its checksum does not hold")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} holds more than a run's state, which is not loaded for safety: {reason}"
        ) from error
    return state


def latest(run: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """The best whole checkpoint of the newest lineage; a damaged one is named in the log and passed over."""
    for entry in lineage(run):
        try:
            return entry.path, read(entry.path)
        except CheckpointError as error:
            log.warning("%s; going back to the one before it", error)
    return None


def snapshot(value: Any) -> Any:  # noqa: ANN401 - any nesting of containers
    """A copy on the CPU that later steps can't change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(item) for item in value)
    return value


def _size(value: Any) -> int:  # noqa: ANN401 - any nesting of containers
    """Bytes of all tensors in it."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(_size(part) for part in parts)


class Saver:
    """Writes checkpoints of one attempt in the background, one at a time, and drops those no longer kept.

    `milestone(step)` says which are kept for good, besides the last `keep_last`.
    """

    def __init__(self, attempt: Attempt, keep_last: int, milestone: Callable[[int], bool]) -> None:
        self.attempt = attempt
        self.keep_last = keep_last
        self.milestone = milestone
        self.last: Path | None = None
        self.last_step: int | None = None
        self.seconds: float | None = None  # that the last save took to be safe on disk
        self.first: Callable[[float], None] | None = None  # told how long the first save took
        self._thread: threading.Thread | None = None
        for leftover in attempt.run.checkpoints.glob(".step_*.tmp"):
            leftover.unlink(missing_ok=True)

    def submit(self, step: int, state: Mapping[str, Any]) -> None:
        """Takes over `state` (a snapshot) and returns; waits first for the save before it."""
        self.wait()
        self._thread = threading.Thread(target=self._save, args=(step, state), name="saver")
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _save(self, step: int, state: Mapping[str, Any]) -> None:
        path = self.attempt.run.checkpoints / file_name(step, self.attempt.number)
        began = time.monotonic()
        try:
            write(path, state)
        except Exception as error:  # training goes on, and the next save may fit
            log.error(
                "a checkpoint of %s could not be written to %s, where %s are free: %s; %s",
                _human(_size(state)), path.parent, _free(path.parent), getattr(error, "strerror", None) or repr(error),
                f"{self.last} still stands" if self.last else "there is no checkpoint yet",
            )  # fmt: skip
            return
        self.last, self.last_step, self.seconds = path, step, time.monotonic() - began
        try:
            self._retain()
        except OSError as error:
            log.warning("a checkpoint that is no longer needed could not be deleted: %s", error)
        first, self.first = self.first, None
        if first is not None:
            first(self.seconds)

    def _retain(self) -> None:
        if not self.attempt.newest:
            return  # overtaken: the files now belong to a newer attempt
        chain = lineage(self.attempt.run, self.attempt.number)
        kept = {entry.path for entry in chain[: self.keep_last]}
        for entry in entries(self.attempt.run):
            if entry.path not in kept and not (entry in chain and self.milestone(entry.step)):
                entry.path.unlink(missing_ok=True)
