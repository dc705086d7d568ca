"""`golang.runs`: all runs below a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golang.errors import DataError
from golang.records import record
from golang.records.find import run_folders
from golang.records.record import Record

if TYPE_CHECKING:
    import pandas


class MissingPandasError(DataError):
    """There is no data frame without pandas."""


class Runs(list[Record]):
    """Records of runs, by their folders' names."""

    def to_pandas(self) -> pandas.DataFrame:
        """A row a run: what came of it, each score as `score.NAME`, and each setting by its dotted name. Raises
        MissingPandasError."""
        try:
            import pandas
        except ImportError as error:
            raise MissingPandasError(f"a data frame needs pandas ({error}): pip install 'pandas>=2.1'") from error
        return pandas.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """The same rows without pandas; what a run does not have is not in its row."""
        return [row(run) for run in self]


def runs(path: str | os.PathLike[str]) -> Runs:
    """All runs below a folder, or the one that it is. An evaluation that measures one of them is among that run's
    scores; it has a record of its own where it measures a run that lies elsewhere.

    Reads no torch, and no file but the small ones of each run. Raises DataError if `path` is no folder.
    """
    return Runs(record.read(folder) for folder in own_folders(Path(path).expanduser().absolute()))


def own_folders(path: Path) -> list[Path]:
    """The folders of `runs`. Raises DataError if `path` is no folder."""
    found = run_folders(path)
    names = {folder.name for folder in found}  # a sweep may have been moved since it was measured
    return [folder for folder in found if (other := record.measures(folder)) is None or other.name not in names]


def row(run: Record) -> dict[str, Any]:
    """What came of a run, its scores and its settings, by the names of their columns."""
    facts = {
        "run": run.name, "path": str(run.path), "state": run.state, "step": run.step, "steps": run.total or None,
        "loss": run.loss, "attempts": len(run.attempts), "steps_repeated": run.repeated, "goodput": run.goodput,
        "gpu_seconds": run.total_seconds, "useful_gpu_seconds": run.useful,
    }  # fmt: skip
    scores = {f"score.{name}": points for name, points in (run.scores | run.beside).items()}
    return facts | scores | run.settings
