"""What is written is for its owner alone, and lands where its name says; what is read keeps no reader waiting."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection
from pathlib import Path

from golang.errors import ConfigError


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for its owner alone, whatever the umask. Raises OSError."""
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # another process was faster
                path.mkdir(mode=0o700)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def open_private(path: Path) -> int:
    """A descriptor for writing a file anew, for its owner alone; never through a link. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)


def read_plain(path: Path, errors: str = "strict") -> str:
    """A file's text. Raises OSError, also for what is no plain file: a pipe might keep its reader waiting for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return path.read_text(errors=errors)


def stays_inside(path: Path) -> None:
    """Raises ConfigError for a link: what is written there would land elsewhere."""
    if path.is_symlink():
        raise ConfigError(
            f"{path} is a link to {path.readlink()}, and nothing is written outside of {path.parent}; delete the "
            "link, or put the runs where they are to lie with runs_dir=PATH"
        )


def has_no_links(folder: Path, besides: Collection[str] = ()) -> None:
    """Raises ConfigError for a link anywhere below a folder, which need not exist, but for what lies in its parts
    `besides`."""
    left, skipped = [folder], {folder / part for part in besides}
    while left:
        with contextlib.suppress(FileNotFoundError), os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    stays_inside(Path(entry.path))
                elif entry.is_dir() and Path(entry.path) not in skipped:
                    left.append(Path(entry.path))
