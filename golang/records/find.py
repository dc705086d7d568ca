"""Which folders are runs."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from golang.errors import DataError
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder

log = logging.getLogger(__name__)


def run_folders(path: Path) -> list[Path]:
    """`path` itself if it is a run, else the runs below it, by name. Links and hidden folders are not followed, and one
    that can't be read is named in the log. Raises DataError if `path` is no folder."""
    if not path.is_dir():
        raise DataError(f"{path} is no folder; give a run, a sweep, or the folder that holds the sweeps (runs)")
    return sorted(_below(path), key=by_numbers)


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, be it damaged: it has attempts, metrics or settings."""
    run = RunFolder(path)
    # A frozen copy of the code has a config.yaml too, but one that composes settings and is no JSON.
    return run.metrics_file.is_file() or run.attempts.is_dir() or bool(read_json(run.config_file))


def by_numbers(folder: Path) -> list[str | float]:
    """Orders paths as people do: epochs=7 before epochs=15."""
    parts = re.split(r"(\d+(?:\.\d+)?)", str(folder))
    return [float(part) if number % 2 else part for number, part in enumerate(parts)]


def _below(path: Path) -> Iterator[Path]:
    if is_run(path):
        yield path
        return
    try:
        with os.scandir(path) as entries:
            folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        log.warning("%s can't be read: %s; what it holds is missing", path, error.strerror)
        return
    for name in folders:
        if not name.startswith("."):
            yield from _below(path / name)
