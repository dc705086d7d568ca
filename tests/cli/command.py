"""`python run.py` as a user starts it, in a folder of its own, on a set that trains in seconds."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.planning.app import main

ROOT = Path(__file__).parents[2]
QUICK = [
    "data.toy={classes: 5, size: 32, train: 44, val: 4, seed: 1}",
    "data.workers=1",
    "model.hidden_dim=32",
    "model.feature_dim=16",
    "model.prototypes=12",
    "model.local_prototypes=14",
    "optim.batch_size=8",
    "augment.large_size=32",
    "augment.small_size=16",
    "log_every_steps=1",
    "checkpoint.every_minutes=60",
    "evaluation.probe=false",
]


# Steps enough for any machine to be stopped in, none of which is saved by itself.
ENDLESS = ("optim.epochs=6000", "checkpoint.keep_every_epochs=0")


def command(data_root: Path, *overrides: str) -> list[str]:
    return [str(ROOT / "run.py"), *QUICK, f"data.root={data_root}", *overrides]


@contextlib.contextmanager
def started(folder: Path, arguments: list[str], launcher: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process of Python in `folder`, its output together in one pipe; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, *launcher, *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def finish(process: subprocess.Popen[str], timeout: float = 90) -> tuple[int, str]:
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


def run(folder: Path, arguments: list[str], timeout: float = 90) -> tuple[int, str]:
    with started(folder, arguments) as process:
        return finish(process, timeout)


def run_here(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """As `run`, in this process, for speed: `main` is all that run.py calls."""
    monkeypatch.chdir(folder)
    code = main(arguments)
    return code, capsys.readouterr().out


def wait_for_step(run_dir: Path, step: int, timeout: float = 60) -> None:
    """Until the run has logged step `step` or a later one."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["step"] >= step:
                return
        time.sleep(0.05)
    raise AssertionError(f"{run_dir} did not reach step {step} within {timeout} s")


def status(run_dir: Path, attempt: int = 0) -> dict:
    return json.loads((run_dir / f"attempts/{attempt:02d}/status.json").read_text())
