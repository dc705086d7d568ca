"""What an evaluation owes the world while it works: stops that all ranks agree on, saves, a heartbeat."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from golang.config import Checkpoint
from golang.engine import checkpoint
from golang.engine.preemption import Agreement
from golang.engine.report import HEARTBEAT
from golang.engine.runfolder import Attempt
from golang.engine.seat import Seat
from golang.engine.watchdog import Watchdog
from golang.evaluation.features import Interruption

log = logging.getLogger(__name__)
State = Callable[[], dict[str, Any]]


class Watch:
    """Of one attempt at an evaluation, on every rank. All of them call its methods equally often."""

    def __init__(self, seat: Seat, attempt: Attempt, settings: Checkpoint, watchdog: Watchdog) -> None:
        self.seat, self.attempt, self.settings, self.watchdog = seat, attempt, settings, watchdog
        self.saver = checkpoint.Saver(attempt, settings.keep_last, lambda step: False)
        self.facts: dict[str, object] = {}  # for the status
        self.done, self.total = 0, 0  # steps
        self._agreement = Agreement(seat.control)
        self._saved, self._beat = time.monotonic(), 0.0

    def step(self, done: int, state: State) -> None:
        """After each step. Saves now and then; raises Interruption once all ranks know of a stop, one step later."""
        self.done = done
        self._look_alive(f"in step {done + 1}")
        due = time.monotonic() - self._saved > 60 * self.settings.every_minutes
        stop, due = self._agreement.exchange(self.seat.listener.signal, due and self.seat.world.rank == 0)
        if stop:
            self._agreement.drain()
            raise Interruption(stop)
        every = self.settings.every_steps
        if due or (every and done % every == 0):
            self.save(state)

    def ask(self) -> bool:
        """Between steps, where there is nothing new to save: whether any rank was asked to stop."""
        self._look_alive(f"measuring after step {self.done}")
        self._agreement.exchange(self.seat.listener.signal, False)
        stop, _ = self._agreement.drain()
        if stop:
            raise Interruption(stop)
        return False

    def save(self, state: State) -> None:
        """A checkpoint at this step. Every rank holds the same, so the first writes it."""
        if self.seat.world.rank == 0:
            self.saver.submit(self.done, checkpoint.snapshot(state()))
        self._saved = time.monotonic()

    def status(self, condition: str) -> None:
        if self.seat.world.rank == 0:
            self.facts["save_seconds"] = self.saver.seconds
            self.attempt.write_status(condition, self.done, self.total, **self.facts)

    def _look_alive(self, doing: str) -> None:
        self.watchdog.beat(doing)
        if time.monotonic() - self._beat > HEARTBEAT:
            self._beat = time.monotonic()
            if self.seat.world.rank == 0:
                self.attempt.fence()
            self.status("running")
