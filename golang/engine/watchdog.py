"""A rank that makes no progress, or whose peer is gone: its stack is kept, and the attempt ends, so that the run can
come back.

A hang is one rank waiting for ever, in a collective, for data or for a disk, and all others waiting for it. Each rank
watches itself, and the next one, from threads, which run while the main thread sits in C++.
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
from golang.engine.distributed import LOST, ControlGroup

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between looks
NOTICE = 5.0  # seconds in which a rank finds out by itself that a peer is gone, as it does in a collective over gloo
LINGER = 5.0  # seconds for the other ranks to write their stacks: the first that leaves may end them all


class Watchdog:
    """While entered, ends this process with status HUNG after `seconds` without a `beat`; 0 never does. Time in which
    the whole process stood still, because Slurm had suspended it, does not count.

    Before the end the stacks of all threads go to the file `stacks`, or to standard error, and `tell` is called once
    with a sentence.
    """

    def __init__(
        self, seconds: float, stacks: Path | None, tell: Callable[[str], None], doing: str = "starting"
    ) -> None:
        self.seconds, self.stacks, self.tell = seconds, stacks, tell
        self.fired = False
        self._quiet = 0.0  # seconds since the last beat
        self._doing = doing
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
        write_stacks(self.stacks, said)
        self.tell(said)
        time.sleep(LINGER)
        os._exit(exits.HUNG)


class PeerWatch:
    """While entered, ends this process with status PEER_LOST once the next rank is gone and the main thread does not
    find out: it may sit in the launch of a kernel behind a collective that waits for that rank for ever, and NCCL sees
    a broken connection between nodes at best.

    The next rank says farewell when it leaves in good order; without, its transport fails as soon as it is gone. Before
    the end stacks go to the file `stacks`, and `tell` is called once.
    """

    def __init__(self, control: ControlGroup, stacks: Path, tell: Callable[[], None]) -> None:
        self.control, self.stacks, self.tell = control, stacks, tell
        self._over = threading.Event()

    def __enter__(self) -> PeerWatch:
        if self.control.group is not None:
            threading.Thread(target=self._watch, name="peer-watch", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        try:
            self.control.await_farewell()
        except RuntimeError as error:
            if any(word in str(error) for word in LOST) and not self._over.wait(NOTICE):
                write_stacks(self.stacks, "another rank is gone")
                self.tell()
                os._exit(exits.PEER_LOST)


def write_stacks(file: Path | None, said: str) -> None:
    """The stacks of all threads, below what was `said`; None is standard error."""
    with contextlib.suppress(OSError), file.open("w") if file else os.fdopen(os.dup(2), "w") as stacks:
        stacks.write(f"{said}\n\n")
        stacks.flush()
        faulthandler.dump_traceback(stacks, all_threads=True)
