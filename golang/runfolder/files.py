"""Files for their owner alone: written whole or not at all, never through a link, and read without waiting."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from golang.disk import whole
from golang.errors import ConfigError


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for its owner alone, whatever the umask. Raises OSError."""
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # another process was faster
                path.mkdir(mode=0o700)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def write(path: Path, text: str, durable: bool = True) -> None:
    """`whole.put` of a text."""
    whole.put(path, lambda file: file.write(text.encode()), durable)


def look_again(folder: Path) -> None:
    """Makes a network file system, which may believe for a minute what it knew of a folder, ask its server what is in
    it now. A folder that is missing has nothing in it."""
    with contextlib.suppress(OSError):
        os.scandir(folder).close()


def read_plain(path: Path, errors: str = "strict") -> str:
    """A file's text. Raises OSError, also for what is no plain file: a pipe might keep its reader waiting for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return path.read_text(errors=errors)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an empty one if it is missing or half-written."""
    try:
        value = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def as_number(value: object) -> float | None:
    """What a file says where a number is to stand; None for anything else, NaN and Inf among it."""
    try:
        found = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return found if abs(found) < 1e100 else None


def yaml_text(values: Mapping[str, Any]) -> str:
    """The settings in the part of YAML that is JSON too, so that reading them back needs no YAML library."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    # YAML 1.1 takes 1e-06 for text, but 1.0e-06 for the number that JSON sees in both.
    return re.sub(r"(?m)(?<=[ \[])(-?\d+)e([-+]?\d+)(?=,?$)", r"\1.0e\2", text) + "\n"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def refuse_link(path: Path) -> None:
    """Raises ConfigError for a link: what is written there would land elsewhere."""
    if path.is_symlink():
        raise ConfigError(
            f"{path} is a link to {path.readlink()}, and nothing is written outside of {path.parent}; delete the "
            "link, or put the runs where they are to lie with runs_dir=PATH"
        )


def refuse_links_below(folder: Path, besides: Collection[str] = (), allowed: Path | None = None) -> None:
    """Raises ConfigError for a link anywhere below a folder, which need not exist, but for the one `allowed` and for
    what lies in its parts `besides`."""
    left, skipped = [folder], {folder / part for part in besides}
    while left:
        with contextlib.suppress(FileNotFoundError), os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if Path(entry.path) != allowed:
                        refuse_link(Path(entry.path))
                elif entry.is_dir() and Path(entry.path) not in skipped:
                    left.append(Path(entry.path))
