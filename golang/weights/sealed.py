"""One sealed file of tensors and plain data, hashed while it is written (`golang.runfolder.checkpoints` says how)."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from golang.disk import whole
from golang.errors import CheckpointError
from golang.runfolder.checkpoints import MARK, SEAL


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
    """Puts a sealed file at `path` whole or not at all, and durably. Raises OSError."""
    whole.put(path, lambda file: encode(state, file))


def read(path: Path) -> dict[str, Any]:
    """What a sealed file holds, on the CPU. Raises CheckpointError if damaged, or holding more than a run's state."""
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
