"""Paths as settings have them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """A path with the home of `~` or `~user` in its place; as it is where that names nobody, for it may be a file's."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's own raises there


def absolute(path: str | Path) -> str:
    """`expanded`, from the root of the file system on and without `.` and `..`; links stay what they are."""
    return os.path.normpath(expanded(path).absolute())
