"""Runs of one rank in this process, tracked by the real client, which never gets further than this machine."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from golang.config import Config
from golang.data.toy.write import write
from golang.engine.stops import STOP_SIGNALS
from golang.training.trainer import Trainer
from tests.resume.harness import here, settings
from tests.tracking.server import KEY, Server


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    return write(root, settings(root).data.toy, workers=1)


@pytest.fixture
def configure(data_root: Path) -> Callable[..., Config]:
    """`configure(tracking={…}, …)`: settings of a run of 20 steps that logs each and saves every fourth."""

    def configured(**changes: Any) -> Config:
        own = {"log_every_steps": 1, "data": {"workers": 0}, "checkpoint": {"every_steps": 4, "keep_last": 9}}
        return settings(data_root, **own, **changes)

    return configured


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key of this machine, no server but on loopback, and the logging of before in the end."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home/.netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    logger = logging.getLogger("golang")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that takes this machine's key."""
    with Server().listening() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`attempt(config, run_dir, stop=9)`: trains until the end, or until a stop signal at that step, which is given
    once W&B's client has opened its run; the status."""

    def attempted(config: Config, run_dir: Path, stop: int | None = None) -> int:
        train_on = Trainer._train_on

        def stopping(self: Trainer, *batch: Any) -> None:
            train_on(self, *batch)
            if self.session.done + 1 == stop:
                log = self.session.attempt.log_file(0)
                wait(lambda: config.tracking.name == "none" or re.search("INFO W&B(:|, offline:|'s)", log.read_text()))
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_train_on", stopping)
            before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
            try:
                return here(config, run_dir)
            finally:
                for number, handler in before.items():  # a process that was stopped stays deaf
                    signal.signal(number, handler)

    return attempted


def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sender(trainer: Trainer) -> subprocess.Popen[bytes]:
    """The process that sends the run's metrics."""
    (mirror,) = (member.mirror for member in trainer.session.listeners if hasattr(member, "mirror"))
    assert mirror._process is not None
    return mirror._process


def roll_back(run_dir: Path) -> None:
    """Takes the newest checkpoint away, as if it had been lost: the next attempt does steps again."""
    sorted(run_dir.glob("checkpoints/step_*.pt"))[-1].unlink()


def said(run_dir: Path) -> str:
    """What all attempts said."""
    return "".join(path.read_text() for path in sorted(run_dir.glob("attempts/*/rank0.log")))
