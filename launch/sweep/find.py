"""Which runs a person means: by path, sweep name, run id, folder name or Slurm job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from golang.errors import GolangError
from golang.records.find import by_numbers
from golang.runfolder.folder import RunFolder
from golang.sources import program
from launch.sweep import ledger
from launch.sweep.paths import Sweep


class NotFoundError(GolangError):
    """No run, or several, where one was meant."""


@dataclass(frozen=True)
class Run:
    """A run's folder and the sweep it belongs to."""

    path: Path
    job: str = ""  # its last Slurm job, "123" or "123_4"

    @property
    def sweep(self) -> Path:
        return self.path.parent

    @property
    def identity(self) -> str:
        match = re.search(r"-([0-9a-f]{8})$", self.path.name)
        return match[1] if match else ""


def runs_in(sweep: Path) -> list[Run]:
    """A sweep's runs by name."""
    folders = sorted((path.parent for path in sweep.glob(str(RunFolder("*").config_file))), key=by_numbers)
    return runs_of(sweep, folders)


def runs_of(sweep: Path, folders: Sequence[Path]) -> list[Run]:
    """The runs that live in folders of a sweep, with the job that each was last given."""
    jobs = {line["folder"]: line["job"] for line in ledger.read(sweep) if line["job"] and line["folder"]}
    return [Run(folder, jobs.get(folder.name, "")) for folder in folders]


def find(target: str | None, runs_dir: Path) -> list[Run]:
    """The runs that `target` names; None means all below `runs_dir`. Raises NotFoundError if it names nothing."""
    if target is not None:
        path = Path(target)
        if RunFolder(path).config_file.is_file():
            return runs_of(path.resolve().parent, [path.resolve()])
        if path.is_dir() and (found := runs_in(path.resolve())):
            return found
    sweeps = sorted(path.resolve() for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
    everything = [run for sweep in sweeps for run in runs_in(sweep)]
    if target is None and not everything:
        raise NotFoundError(f"there are no runs below {runs_dir}/; start one with {program()}, or name a folder")
    matching = everything if target is None else next(filter(None, _meanings(target, everything)), [])
    if matching:
        return matching
    known = ", ".join(sorted({run.sweep.name for run in everything})) or "none"
    raise NotFoundError(
        f"{target!r} is no path, sweep, run, id or job here; sweeps below {runs_dir}/ are: {known}. "
        "Another place is named by --runs-dir"
    )


def find_one(target: str, runs_dir: Path) -> Run:
    """The one run that `target` names. Raises NotFoundError if there is none, or naming them if there are several."""
    found = find(target, runs_dir)
    if len(found) > 1:
        twice = len({run.path.name for run in found}) < len(found)
        names = "\n  ".join(str(run.path) if twice else run.path.name for run in found[:20])
        raise NotFoundError(f"{target!r} names {len(found)} runs; choose one:\n  {names}")
    return found[0]


def find_sweep(target: str | None, runs_dir: Path) -> Path:
    """The one sweep that `target` names, or a run of it; None means the only one. Raises NotFoundError."""
    for path in () if target is None else (Path(target), runs_dir / target):
        if path.is_dir() and (Sweep(path).ledger.is_file() or Sweep(path).description.is_file()):
            return path.resolve()
    sweeps = sorted({run.sweep for run in find(target, runs_dir)})
    if len(sweeps) > 1:
        raise NotFoundError(f"there are {len(sweeps)} sweeps; choose one: {', '.join(path.name for path in sweeps)}")
    return sweeps[0]


def _meanings(target: str, runs: Sequence[Run]) -> Iterator[list[Run]]:
    yield [run for run in runs if run.sweep.name == target]
    yield [run for run in runs if target in (run.path.name, run.job)]
    yield [run for run in runs if run.job.split("_")[0] == target]
    if re.fullmatch(r"[0-9a-f]{2,8}", target):
        yield [run for run in runs if run.identity.startswith(target)]
    yield [run for run in runs if run.path.name.startswith(target)]
