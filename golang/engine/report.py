"""What rank 0 tells the world about an attempt: metrics, status and cause files, the terminal."""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from golang.config import Config
from golang.engine.distributed import World
from golang.engine.health import log_k, mean_metrics, parameter_norm, uniform_losses
from golang.engine.progress import Progress
from golang.engine.runfolder import Attempt, now, write_atomically
from golang.engine.step import TrainStep, precision_on
from golang.engine.tracking import MetricsLog
from golang.evaluation.collapse import collapsed, counts_from
from golang.method.queue import EmbeddingQueue
from golang.tracking.mirror import Mirror

log = logging.getLogger(__name__)
HEARTBEAT = 5.0  # seconds between status files


@dataclass
class Pace:
    """Time and steps since the last log line."""

    steps: int = 0
    waited: float = 0.0  # seconds for data
    since: float = field(default_factory=time.monotonic)


class Reporter:
    """Holds metrics.jsonl and, while entered, the progress bar. On other ranks than 0 every call does nothing."""

    def __init__(
        self, config: Config, attempt: Attempt, world: World, mirror: Mirror, steps_per_epoch: int, shown: bool
    ) -> None:
        self.config, self.attempt, self.world, self.mirror = config, attempt, world, mirror
        self.steps_per_epoch, self.total = steps_per_epoch, steps_per_epoch * config.optim.epochs
        self.active = world.rank == 0
        self._progress = Progress(self.total, shown and self.active)
        self._metrics: MetricsLog | None = None
        self.facts: dict[str, object] = {"host": socket.gethostname(), "pid": os.getpid()}
        self._shown: dict[str, list[float]] = {}  # by name, metrics of the log lines that can show a collapse
        self._warned = False
        self._beat = 0.0

    def __enter__(self) -> Reporter:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._metrics is not None:
            self._metrics.close()

    def begin(self, done: int, images: int, device: torch.device, resumed: Path | None) -> None:
        """Says what is about to happen, after `done` steps; cuts metrics.jsonl to them."""
        if not self.active:
            return
        self._metrics = MetricsLog(self.attempt.run.metrics_file, done)
        self.mirror.start(self.config, self.attempt)
        where = f"{self.world.size} × {device.type} in {precision_on(device, self.config.precision)}"
        run, number, epochs = self.attempt.run.path, self.attempt.number, self.config.optim.epochs
        log.info(
            "run %s, attempt %d: %d images, %d steps, %d epochs, %s", run, number, images, self.total, epochs, where
        )
        uniform = ", ".join(f"{name} {value:.3f}" for name, value in uniform_losses(self.config).items())
        log.info("a collapsed network would show %s", uniform)
        log.info("a crash loses at most the work since the last save: %g min", self.config.checkpoint.every_minutes)
        if resumed is not None:
            log.info("continuing after step %d of %d from %s", done, self.total, resumed.name)

    def step(self, done: int) -> None:
        """After each step: moves the bar, and writes the status file now and then."""
        if not self.active:
            return
        self._progress.step(done)
        if time.monotonic() - self._beat > HEARTBEAT:
            self._beat = time.monotonic()
            self.attempt.fence()
            self.status("running", done)

    def line(self, done: int, sums: Tensor, skipped: int, step: TrainStep, pace: Pace, unreadable: int) -> None:
        """One line of metrics, from the meters' sums averaged over ranks."""
        if self._metrics is None:
            return
        seconds = time.monotonic() - pace.since
        line: dict[str, Any] = {
            "step": done,
            "epoch": (done - 1) // self.steps_per_epoch,
            **mean_metrics(sums, self.config),
            **log_k(self.config),
            "parameter_norm": parameter_norm(step.model),
            "lr": step.learning_rates[done - 1],
            "queue_fill": _fill(step.queue),
            **({"local_queue_fill": _fill(step.local_queue)} if self.config.queue.local_length else {}),
            "samples": done * self.config.optim.batch_size,
            "skipped_steps": skipped,
            "unreadable_images": unreadable,
            "attempt": self.attempt.number,
            "time": now(),
            "images_per_second": pace.steps * self.config.optim.batch_size / seconds,
            "step_seconds": seconds / pace.steps,
            "data_wait_seconds": pace.waited / pace.steps,
        }
        self._metrics.write(line)
        self.facts |= {key: line[key] for key in ("loss", "epoch", "images_per_second")}
        self._progress.say(line, (self.total - done) * seconds / pace.steps)
        self._watch_for_collapse(done, line)

    def status(self, condition: str, done: int) -> None:
        if self.active:
            self.attempt.write_status(condition, done, self.total, **self.facts)

    def stopping(self, done: int) -> None:
        """Says where this attempt stopped, and lets W&B know, before the last save: it may not fit the time left."""
        self.status("running", done)
        self.mirror.say("preempting")

    def end(self, condition: str, cause: str, done: int, **facts: object) -> None:
        """How the attempt ended; a finished run is marked DONE."""
        if not self.active:
            return
        self.status(condition, done)
        self.attempt.write_cause(cause, done, **facts)
        if condition == "finished":
            write_atomically(self.attempt.run.done_file, f"step {done}, {now()}\n")
            log.info("finished: %d steps; %s", done, self.attempt.run.path)

    def _watch_for_collapse(self, done: int, line: dict[str, Any]) -> None:
        if self._warned or done < counts_from(self.config, self.steps_per_epoch):
            return
        uniform = uniform_losses(self.config)
        for name in (*uniform, "prototype_perplexity"):
            self._shown.setdefault(name, []).append(line[name])
        message = collapsed(self._shown, uniform, self.config)
        if message is not None:
            self._warned = True
            log.warning("%s", message)


def _fill(queue: EmbeddingQueue | None) -> float:
    return queue.filled / queue.rows.shape[1] if queue else 0.0
