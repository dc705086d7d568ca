"""Reads the files that W&B's client writes offline: LevelDB's log format around protocol buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7  # bytes of the file's and of each chunk's: checksum, length, type
WHOLE, LAST = 1, 4  # types of chunks that end a record


def records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file, as far as it is whole."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, payload = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B", f"{path} is no file of W&B's"
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        place += HEADER
        payload += data[place : place + length]
        place += length
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(payload)
            yield record
            payload = b""


def history(path: Path) -> list[dict[str, Any]]:
    """The logged steps of a `.wandb` file."""
    return [_items(record.history.item) for record in records(path) if record.HasField("history")]


def summary(path: Path) -> dict[str, Any]:
    """The last value of each entry of the summary."""
    found: dict[str, Any] = {}
    for record in records(path):
        if record.HasField("summary"):
            found |= _items(record.summary.update)
    return found


def run(path: Path) -> Any:
    """What the file says of the run itself."""
    return next(record.run for record in records(path) if record.HasField("run"))


def files(folder: Path) -> list[Path]:
    """The `.wandb` files below a folder, oldest first."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
