"""What rank 0 says of a training: metrics.jsonl, and the terminal."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from golang.engine.session import Session
from golang.method.collapse import CollapseDetector, log_k, uniform_losses
from golang.method.queue import EmbeddingQueue
from golang.runfolder.files import now
from golang.runfolder.metrics import MetricsLog
from golang.training.meters import mean_metrics, parameter_norm
from golang.training.progress import Progress
from golang.training.step import TrainStep, precision_on

log = logging.getLogger(__name__)


@dataclass
class Pace:
    """Time and steps since the last log line."""

    steps: int = 0
    waited: float = 0.0  # seconds for data
    since: float = field(default_factory=time.monotonic)


class Reporter:
    """Holds metrics.jsonl and, while entered, the progress bar. On other ranks than 0 every call does nothing."""

    def __init__(self, session: Session, steps_per_epoch: int, shown: bool) -> None:
        self.session, self.config = session, session.config
        self.steps_per_epoch = steps_per_epoch
        self._progress = Progress(session.total, shown and session.rank.first)
        self._metrics: MetricsLog | None = None
        self._collapse = CollapseDetector(session.config, steps_per_epoch)

    def __enter__(self) -> Reporter:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__()
        if self._metrics is not None:
            self._metrics.close()

    def begin(self, images: int) -> None:
        """Says what is about to happen; cuts metrics.jsonl to the steps that are done."""
        session, config = self.session, self.config
        if not session.rank.first:
            return
        run, device = session.attempt.run, session.rank.device
        self._metrics = MetricsLog(run.metrics_file, session.done)
        session.tell(lambda listener: listener.begun(config, session.attempt))
        where = f"{session.rank.world.size} × {device.type} in {precision_on(device, config.precision)}"
        if config.optim.accumulate > 1:
            where += f", {config.optim.accumulate} micro-batches a step"
        log.info(
            "run %s, attempt %d: %d images, %d steps, %d epochs, %s",
            run.path, session.attempt.number, images, session.total, config.optim.epochs, where,
        )  # fmt: skip
        uniform = ", ".join(f"{name} {value:.3f}" for name, value in uniform_losses(config).items())
        log.info("a collapsed network would show %s", uniform)
        log.info("a crash loses at most the work since the last save: %g min", config.checkpoint.every_minutes)
        if session.resume is not None:
            log.info("continuing after step %d of %d from %s", session.done, session.total, session.resume.name)

    def step(self, done: int) -> None:
        """After each step: moves the bar."""
        self._progress.step(done)

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
            "attempt": self.session.attempt.number,
            "time": now(),
            "images_per_second": pace.steps * self.config.optim.batch_size / seconds,
            "step_seconds": seconds / pace.steps,
            "data_wait_seconds": pace.waited / pace.steps,
        }
        self._metrics.write(line)
        self.session.facts |= {key: line[key] for key in ("loss", "epoch", "images_per_second")}
        self._progress.say(line, (self.session.total - done) * seconds / pace.steps)
        if message := self._collapse.look(done, line):
            log.warning("%s", message)

    def finished(self) -> str:
        """The last word on a finished run, and the line that marks it."""
        log.info("finished: %d steps; %s", self.session.done, self.session.attempt.run.path)
        return f"step {self.session.done}"


def _fill(queue: EmbeddingQueue | None) -> float:
    return queue.filled / queue.rows.shape[1] if queue else 0.0
