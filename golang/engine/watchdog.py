"""A rank that makes no progress: every rank's stack is kept, and the attempt ends, so that the run can come back.

A hang is one rank waiting for ever, in a collective, for data or for a disk, and all others waiting for it. Each rank
watches itself from a thread, which runs while the main thread sits in C++.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from golang import exits

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between looks
LINGER = 5.0  # seconds for the other ranks to write their stacks: the first that leaves may end them all


class Watchdog:
    """While entered, ends this process with status HUNG after `seconds` without a `beat`; 0 never does. Time in which
    the whole process stood still, because Slurm had suspended it, does not count.

    Before the end the stacks of all threads go to the file `stacks`, and `tell` is called once with a sentence.
    """

    def __init__(self, seconds: float, stacks: Path, tell: Callable[[str], None]) -> None:
        self.seconds, self.stacks, self.tell = seconds, stacks, tell
        self.fired = False
        self._quiet = 0.0  # seconds since the last beat
        self._doing = "starting"
        self._over = threading.Event()

    def __enter__(self) -> Watchdog:
        if self.seconds > 0:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.fired:  # what the main thread met is a consequence: the watchdog ends the process
            time.sleep(2 * LINGER)
        self._over.set()

    def beat(self, doing: str) -> None:
        """There is progress; `doing` says what comes next."""
        self._doing, self._quiet = doing, 0.0

    def _watch(self) -> None:
        tick = min(TICK, self.seconds / 4)
        before = time.monotonic()
        while not self._over.wait(tick):
            now = time.monotonic()
            self._quiet += min(now - before, 2 * tick)
            before = now
            if self._quiet > self.seconds:
                self._end()

    def _end(self) -> None:
        self.fired = True
        last = threading.Timer(2 * LINGER, os._exit, (exits.HUNG,))  # if the disk is what hangs, so do the lines below
        last.daemon = True
        last.start()
        said = f"no progress for {self.seconds:g} s while {self._doing}"
        with contextlib.suppress(OSError), self.stacks.open("w") as file:
            file.write(f"{said}\n\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        self.tell(said)
        time.sleep(LINGER)
        os._exit(exits.HUNG)
