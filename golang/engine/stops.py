"""Stop requests: heard by a thread, agreed on by all ranks one step later.

A Python signal handler runs between byte codes of the main thread, which can be half a minute late inside a
collective. The interpreter's C handler writes the signal's number to a pipe at once; a small thread reads it there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from types import FrameType
from typing import Any

import torch

from golang import exits
from golang.engine.distributed import ControlGroup
from golang.runfolder.causes import Word

STOP_SIGNALS: dict[int, Word] = {
    signal.SIGHUP: Word.SESSION_LOST,
    signal.SIGINT: Word.INTERRUPTED,
    signal.SIGTERM: Word.TERMINATED,
    signal.SIGUSR1: Word.TIME_LIMIT,  # the two that Slurm is asked to warn with
    signal.SIGUSR2: Word.TIME_LIMIT,
}
JOINING = 5.0  # seconds that ranks which are about to meet may take to do so once one is asked to stop
LOOK = 0.5  # seconds between looks at work aside
PARENT_PIPE = "GOLANG_PARENT_PIPE"  # names the pipe that `watch_parent` reads, to a rank
DOUBLE_CLICK = 0.5  # seconds within which a repeated SIGINT is one Ctrl-C that arrived on two ways

Tick = Callable[[int], None]  # told how far work got since, 0 while it waits


def heeded() -> list[int]:
    """The stop signals, but for SIGHUP where this process was started to ignore it (nohup)."""
    return [number for number in STOP_SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


class Stopped(Exception):  # noqa: N818 - no error
    """All ranks agreed to stop because of a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.cause = STOP_SIGNALS[number]


class StopListener:
    """While entered, notes the first stop signal in `signal`, and when, in `heard` (monotonic seconds).

    A second Ctrl-C ends the process at once. Outside the main thread, where Python cannot take signals, it hears none.
    """

    def __init__(self) -> None:
        self.signal, self.heard = 0, 0.0
        self._previous: dict[int, Any] = {}
        self._previous_fd = -1
        self._ends: tuple[int, int] | None = None
        self._owner = os.getpid()
        self._met = threading.Event()
        self._met.set()

    def join(self, number: int) -> None:
        """The ranks agreed to stop, as one of them was asked to by `number`: now this one is asked, too, so that what
        ends it once another rank is gone (torchrun, srun) cannot change how it ends."""
        if not self.signal:
            self.signal, self.heard = number, time.monotonic()

    @contextlib.contextmanager
    def meeting(self) -> Iterator[None]:
        """While the ranks have yet to meet they cannot agree on a stop, and have nothing to save: one that is asked to
        and does not get on leaves by itself, with status STOPPED. A warning of the time limit can wait."""
        self._met.clear()
        try:
            yield
        finally:
            self._met.set()

    def __enter__(self) -> StopListener:
        if threading.current_thread() is not threading.main_thread():
            return self
        read, write = os.pipe()
        os.set_blocking(write, False)
        self._ends = read, write
        for number in heeded():
            self._previous[number] = signal.signal(number, _leave_to_the_thread)
        self._previous_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(read,), name="stop-listener", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._ends is None:
            return
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            # A process that is leaving ignores signals, so that a repeated one cannot change how it ends.
            signal.signal(number, signal.SIG_IGN if self.signal else handler)
        os.close(self._ends[1])
        self._ends = None

    def _listen(self, pipe: int) -> None:
        while data := os.read(pipe, 64):
            for number in data:
                if number not in STOP_SIGNALS or os.getpid() != self._owner:
                    continue
                now = time.monotonic()
                if number == signal.SIGINT and self.signal == signal.SIGINT and now - self.heard > DOUBLE_CLICK:
                    os._exit(exits.INTERRUPTED)
                self.join(number)
                if STOP_SIGNALS[number] != Word.TIME_LIMIT:
                    threading.Thread(target=self._leave_unmet, daemon=True).start()
        os.close(pipe)

    def _leave_unmet(self) -> None:
        if not self._met.wait(JOINING):
            os._exit(exits.STOPPED)


def _leave_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Python only writes to the wake-up pipe for signals that have a Python handler."""


class Agreement:
    """Decisions that all ranks take at the same step, without waiting for each other in it: the exchange that starts at
    the end of step t is read at the end of step t + 1."""

    def __init__(self, control: ControlGroup) -> None:
        self.control = control
        self._flags = torch.zeros(2, dtype=torch.int64)
        self._work = control.start_maximum(self._flags)

    def exchange(self, stop: int, save: bool) -> tuple[int, bool]:
        """Tells the others this rank's wishes; returns what all ranks wished one call ago: (signal or 0, save?)."""
        agreed = self.drain()
        self._flags = torch.tensor([stop, int(save)])
        self._work = self.control.start_maximum(self._flags)
        return agreed

    def drain(self) -> tuple[int, bool]:
        """Ends the exchange that is under way."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        stop, save = self._flags.tolist()
        return int(stop), bool(save)


class Vigil:
    """Rank 0 works alone while the others wait: all of them hear when any is asked to stop. Rank 0 calls `stopped` now
    and then, and `over` at the end; the others call `wait`. `beat` is called each time."""

    def __init__(self, control: ControlGroup, listener: StopListener, beat: Callable[[], None]) -> None:
        self.control, self.listener, self.beat = control, listener, beat

    def stopped(self) -> bool:
        return self._tell(over=False)[0]

    def over(self) -> None:
        self._tell(over=True)

    def wait(self) -> None:
        while not self._tell(over=False)[1]:
            pass

    def _tell(self, over: bool) -> tuple[bool, bool]:
        self.beat()
        flags = self.control.maximum(torch.tensor([int(bool(self.listener.signal)), int(over)]))
        return bool(flags[0]), bool(flags[1])


class _LeftError(Exception):
    """Nobody waits for the work any more."""


class Aside:
    """Does `work` in a thread while entered, so that the main thread keeps in touch with the other ranks. The work
    calls what it is given now and then, which ends it once this is left."""

    def __init__(self, work: Callable[[Tick], None]) -> None:
        self._work, self._left, self._done = work, threading.Event(), futures.Future[None]()
        self._further, self._seen = 0, 0

    def __enter__(self) -> Aside:
        threading.Thread(target=self._act, name="aside", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._left.set()

    def look(self) -> tuple[int, int]:
        """After LOOK seconds or the end of the work: whether it goes on, and whether it got any further since the last
        look. Raises what the work raised."""
        futures.wait([self._done], timeout=LOOK)
        at_work, further = not self._done.done(), self._further
        if not at_work:
            self._done.result()
        seen, self._seen = self._seen, further
        return int(at_work), int(further > seen)

    def _act(self) -> None:
        try:
            self._work(self._tick)
        except BaseException as error:
            self._done.set_exception(error)
        else:
            self._done.set_result(None)

    def _tick(self, further: int) -> None:
        self._further += further
        if self._left.is_set():
            raise _LeftError


def watch_parent(pipe: int, gone: Callable[[], None]) -> None:
    """Calls `gone` once the process that holds the other end of `pipe` is no more, however it ended."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(pipe, 1):
                continue
        gone()

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
