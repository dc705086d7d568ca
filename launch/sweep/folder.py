"""A sweep: the folder that holds its runs, its code and its ledger; and the runs that a command line plans for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from golang.config import Config
from golang.runfolder import files, lock
from golang.runfolder.files import make_private, now, read_json, refuse_link, yaml_text
from golang.runfolder.folder import RunFolder
from golang.tracking.ticket import Ticket
from launch.errors import LaunchBusyError, SubmitError
from launch.settings import Cluster
from launch.sweep.paths import Sweep

PATIENCE = 2.0  # seconds for a launcher that is about to end


@dataclass(frozen=True)
class Planned:
    """One run of a plan, frozen: where it will live and what it is."""

    id: str
    config: Config
    overrides: tuple[str, ...]
    cluster: Cluster
    folder: Path
    after: str = ""  # the id of a run of the same plan that must have finished before


@dataclass(frozen=True)
class Plan:
    """All that one command line asks for, in one sweep."""

    sweep: Path
    command: tuple[str, ...]
    runs: tuple[Planned, ...]
    code: str = "current"  # or frozen
    dry_run: bool = False
    notify: str | None = None  # the shell line that tells of the ends of its runs


def describe(plan: Plan) -> None:
    """Writes to sweep.yaml what was typed, and for which runs. Raises SubmitError."""
    values: dict[str, object] = {"command": list(plan.command), "cwd": str(Path.cwd()), "typed": now()}
    with writing(plan.sweep):
        inode = plan.sweep.stat().st_ino  # which a copy of the sweep does not have
        values |= {"runs": [run.id for run in plan.runs], "folder": inode}
        files.write(Sweep(plan.sweep).description, yaml_text(values))


def freeze(run: Planned, code: Path) -> None:
    """Makes the run's folder. Raises ConfigError if another run lives there, SubmitError if it can't be written."""
    values = {"overrides": list(run.overrides), "code": code.name, "frozen": now()}
    with writing(run.folder):
        # Without waiting for the disk: a thousand runs are made at once, and of a file that a power cut takes the
        # trainer says that it is damaged.
        refuse_link(run.folder)
        folder = RunFolder(run.folder)
        folder.make(run.config)
        make_private(folder.logs)
        folder.keep(run.config, durable=False)
        if run.config.tracking.name != "none":
            Ticket.of(folder, durable=False)
        files.write(folder.overrides_file, yaml_text(values), durable=False)


def frozen_code(folder: Path) -> str:
    """The name of the snapshot that the run was last submitted with; "" if there is none."""
    return str(read_json(RunFolder(folder).overrides_file).get("code", ""))


@contextlib.contextmanager
def hold(sweep: Path) -> Iterator[int]:
    """Owns the sweep's submissions while entered; the lock's descriptor. Raises LaunchBusyError, SubmitError."""
    with contextlib.ExitStack() as held:
        try:
            with writing(sweep):
                refuse_link(sweep)
                make_private(sweep)
                descriptor = held.enter_context(lock.hold(Sweep(sweep).lock, PATIENCE))
        except lock.HeldError as error:
            raise LaunchBusyError(
                f"another launcher is at work in {sweep}: {error}; wait until it is done, then type the same command "
                "again"
            ) from None
        yield descriptor


def differing(runs: Sequence[Planned]) -> tuple[list[str], list[dict[str, str]]]:
    """The overrides that all runs share, and for each run those that it does not share, by key."""
    pairs = [[word.lstrip("+").partition("=") for word in run.overrides] for run in runs]
    split = [{key: value for key, _, value in words} for words in pairs]
    shared = {key for key in split[0] if all(cells.get(key) == split[0][key] for cells in split)} if split else set()
    common = [f"{key}={value}" for key, value in split[0].items() if key in shared] if split else []
    return common, [{key: value for key, value in cells.items() if key not in shared} for cells in split]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises SubmitError where `path` can't be written to."""
    try:
        yield
    except OSError as error:
        raise SubmitError(
            f"can't write to {path}: {error.strerror}; nothing was submitted for it. Make room, or choose another "
            "folder with runs_dir=PATH, then type the same command again"
        ) from error
