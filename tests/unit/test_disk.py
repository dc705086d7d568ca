"""Checkpoints on disks that are full, read-only or beyond a quota: said before the first step, and survived later."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from golang.engine.saver import Saver
from golang.runfolder.checkpoints import latest
from golang.runfolder.folder import RunFolder
from golang.weights.sealed import read
from tests.resume.harness import launch, settings

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def test_too_little_room_is_said_before_the_first_step(disk: Path, tmp_path: Path) -> None:
    config = settings(tmp_path / "toy", data={"workers": 0})
    assert launch(config, disk / "run", ranks=1) == [2]
    log = (disk / "run/attempts/00/rank0.log").read_text()
    assert "checkpoints need" in log and f"{disk}/run/checkpoints has" in log and "checkpoint.keep_last" in log
    assert "step 3" not in log


def test_a_disk_that_fills_up_leaves_the_old_checkpoint(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunFolder.create(disk / "run", settings(disk))
    attempt = run.start_attempt(1, {}, None)
    saver = Saver(attempt, 2)
    state = {"step": 1, "weights": torch.zeros(100_000)}
    saver.submit(1, state)
    saver.wait()
    (disk / "filler").write_bytes(b"x" * 350_000)
    with caplog.at_level(logging.ERROR, "golang"):
        saver.submit(2, {**state, "step": 2})
        saver.wait()
    assert "could not be written to" in caplog.text and "400 KB" in caplog.text and str(disk) in caplog.text
    assert "No space left on device" in caplog.text and "step_00000001.a00.pt still stands" in caplog.text
    found = latest(run)
    assert found is not None and read(found)["step"] == 1
    assert not list(run.checkpoints.glob(".*"))


def test_a_disk_that_turns_read_only_leaves_the_old_checkpoint(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunFolder.create(disk / "run", settings(disk))
    saver = Saver(run.start_attempt(1, {}, None), 2)
    saver.submit(1, {"step": 1})
    saver.wait()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with caplog.at_level(logging.ERROR, "golang"):
        saver.submit(2, {"step": 2})
        saver.wait()
    assert "Read-only file system" in caplog.text and "step_00000001.a00.pt still stands" in caplog.text
    found = latest(run)
    assert found is not None and read(found)["step"] == 1


class OverQuota(io.FileIO):
    """A file of which the disk takes a hundred thousand bytes: kernels without quotas can't show one."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(data) > 100_000:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return super().write(data)


def test_a_quota_that_is_used_up_leaves_the_old_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.create(tmp_path / "run", settings(tmp_path))
    saver = Saver(run.start_attempt(1, {}, None), 2)
    state = {"step": 1, "weights": torch.zeros(100_000)}
    saver.submit(1, state)
    saver.wait()
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "golang"):
        patched.setattr(os, "fdopen", OverQuota)
        saver.submit(2, {**state, "step": 2})
        saver.wait()
    assert "Disk quota exceeded" in caplog.text and "400 KB" in caplog.text and str(tmp_path) in caplog.text
    assert "step_00000001.a00.pt still stands" in caplog.text
    found = latest(run)
    assert found is not None and read(found)["step"] == 1
    assert not list(run.checkpoints.glob(".*"))
