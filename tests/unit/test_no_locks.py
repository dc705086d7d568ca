"""A file system without flock: said as what it is, wherever a lock is taken."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from golang.config import Config
from golang.errors import DataError, GolangError
from golang.runfolder.folder import RunFolder
from golang.runfolder.mounts import file_system
from golang.tracking.client import TrackingError
from golang.tracking.publish import publish
from launch.sweep.folder import hold
from launch.sweep.here import turn


def hold_run(folder: Path) -> None:
    with RunFolder.create(folder / "run", Config()).hold():
        pass


def hold_sweep(folder: Path) -> None:
    with hold(folder):
        pass


def wait_for_a_turn(folder: Path) -> None:
    with turn(folder, 1):
        pass


def send_results(folder: Path) -> None:
    with pytest.raises(TrackingError) as error:
        publish(RunFolder.create(folder / "run", Config()).path, job_type="eval")
    raise error.value


@pytest.mark.parametrize("take", [hold_run, hold_sweep, wait_for_a_turn, send_results])
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_what_is_missing_is_named(
    take: Callable[[Path], None], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    kind, point, _ = file_system(tmp_path)
    said = f"flock: {os.strerror(number)}. The file system, {kind} at {point}, has no locks"
    with pytest.raises(
        GolangError, match=f"can't lock {tmp_path}.*{re.escape(said)}.*-o flock.*runs_dir=PATH"
    ) as error:
        take(tmp_path)
    assert "is it a file of this run" not in str(error.value)


def test_another_error_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: object, how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(DataError, match="Input/output error; is it a file of this run"):
        hold_run(tmp_path)


def test_nobody_is_seen_to_hold_what_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    run = RunFolder.create(tmp_path / "run", Config())
    run.lock_file.write_text("process 7")
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not run.held
