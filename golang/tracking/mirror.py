"""The trainer's side of W&B: a process beside it that sends what the run folder holds. It can be slow, or die."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

from golang import sources
from golang.config import Config
from golang.runfolder.folder import Attempt
from golang.tracking.client import mode_of
from golang.tracking.ticket import Ticket

log = logging.getLogger(__name__)
Word = Literal["finished", "preempting", "failed"]
# Seconds for the last points: a job that is stopped has little time, a finished run can wait for its pictures.
PATIENCE: dict[Word, float] = {"finished": 60.0, "preempting": 5.0, "failed": 5.0}


class Mirror(contextlib.AbstractContextManager["Mirror"]):
    """Does nothing until it is started, and then nothing that the training would wait for, except when it is closed.

    Left by an exception, the run counts as failed, else as finished.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._run_dir = Path()

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.close("failed" if kind is not None else "finished")

    def start(self, config: Config, attempt: Attempt) -> None:
        """Begins to send an attempt's metrics, where the settings ask for it."""
        mode = mode_of(config)
        if mode is None:
            return
        self._run_dir = attempt.run.path.absolute()
        kept = {key: value for key, value in os.environ.items() if key not in ("WANDB_SERVICE", "WANDB_MODE")}
        command = [sys.executable, "-m", "golang.tracking", str(self._run_dir), mode]
        try:
            Ticket.of(attempt.run)
            with attempt.wandb_log.open("a") as errors:
                self._process = subprocess.Popen(
                    [*command, str(os.getpid())], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=errors, env=sources.environment(kept), start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            log.warning("W&B could not be started (%s); metrics.jsonl has everything", error)
            return
        threading.Thread(target=self._pass_on, args=(self._process,), name="wandb-words", daemon=True).start()

    def say(self, word: Word) -> None:
        """Tells how the run ends, ahead of `close`, so that the last points go out meanwhile."""
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        with contextlib.suppress(OSError):  # it has died
            self._process.stdin.write(f"{word}\n".encode())
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self, word: Word) -> None:
        """Waits for the last points, for a limited time. A second call does nothing."""
        if self._process is None:
            return
        self.say(word)
        try:
            self._process.wait(PATIENCE[word])
        except subprocess.TimeoutExpired:
            log.warning(
                "W&B did not take the last points within %g s; python -m launch sync %s sends them",
                PATIENCE[word], self._run_dir,
            )  # fmt: skip
        with contextlib.suppress(ProcessLookupError):  # its group: W&B's own helper too
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @staticmethod
    def _pass_on(process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            log.info("%s", line.decode(errors="replace").rstrip())
