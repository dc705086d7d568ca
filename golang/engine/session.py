"""One attempt at a run, from taking its folder to the last word in it, whatever the run computes."""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from golang import __version__, logs
from golang.config import Config
from golang.data.readers.reader import Split
from golang.data.sets import copy_to_node
from golang.engine import causes
from golang.engine.determinism import versions
from golang.engine.distributed import peers
from golang.engine.listeners import Listener
from golang.engine.rank import Rank
from golang.engine.saver import Saver
from golang.engine.stops import Agreement, Aside, Stopped, Tick, Vigil
from golang.engine.watchdog import PeerWatch, Watchdog
from golang.errors import PeerLostError
from golang.runfolder import checkpoints, files, lock
from golang.runfolder.causes import Word
from golang.runfolder.folder import Attempt, RunFolder

log = logging.getLogger(__name__)
HEARTBEAT = 5.0  # seconds between status files
LastWords = Callable[[], str]  # what rank 0 still does for a finished run; returns a line for its mark, DONE


class Outcome(enum.Enum):
    FINISHED = "finished"
    ALREADY = "finished before"
    STOPPED = "stopped"


def attempt(
    config: Config, path: Path, rank: Rank, listeners: Sequence[Listener], work: Callable[[Session], LastWords]
) -> Outcome:
    """One attempt at the run in `path`: `work` does it, on every rank, from where `Session.resume` says it stands.

    A stop that `work` lets through ends the attempt in good order; any other exception is written down and goes on.
    Raises RunBusyError for a run that someone else holds, and what `work` raises.
    """
    with contextlib.ExitStack() as held:
        session = _open(config, path, rank, listeners, held)
        if session is None:
            log.info("%s is finished already; name=OTHER starts afresh", path)
            return Outcome.ALREADY
        with session.watchdog:
            try:
                with peers(session.since), session.peer_watch:
                    last_words = work(session)
                    session.saver.wait()
            except Stopped as stop:
                session.leave_stopped(stop.cause)
                return Outcome.STOPPED
            except BaseException:
                session.status("failed")
                raise
            finally:
                session.saver.wait()
            session.leave_finished(last_words)
            return Outcome.FINISHED


def _open(
    config: Config, path: Path, rank: Rank, listeners: Sequence[Listener], held: contextlib.ExitStack
) -> Session | None:
    """Rank 0 takes the folder and says to all what is in it; None if the run is finished. Its error is everyone's.
    Until `held` is left, the folder is this process group's, and each rank's log and failure go there too. A finished
    run whose last checkpoint is damaged is not finished; one whose checkpoints were deleted is."""

    def first() -> dict[str, Any]:
        run = RunFolder.create(path, config)
        held.enter_context(run.hold())
        whole, named = checkpoints.latest(run), checkpoints.lineage(run)
        if run.done and whole == (named[0].path if named else None):
            return {"done": True}
        run.done_file.unlink(missing_ok=True)
        resume = whole.name if whole else None
        used = {"golang": __version__} | versions(rank.device)
        begun = run.start_attempt(rank.world.size, used, resume)
        return {"attempt": begun.number, "resume": resume}

    news = json.loads(rank.control.broadcast(json.dumps(rank.control.on_first_rank(first))))
    if "done" in news:
        return None
    run = RunFolder(path)
    attempt = Attempt(run, news["attempt"])
    held.enter_context(logs.kept_in(attempt.log_file(rank.world.rank)))
    held.enter_context(causes.recorded(attempt, rank.world.rank))
    if rank.first and (doubt := lock.doubt(path)):
        log.warning("%s", doubt)
    resume = run.checkpoints / news["resume"] if news["resume"] else None
    return Session(config, rank, attempt, resume, listeners)


class Session:
    """An attempt under way, on one rank. All ranks call its methods equally often, and in the same order."""

    def __init__(
        self, config: Config, rank: Rank, attempt: Attempt, resume: Path | None, listeners: Sequence[Listener] = ()
    ) -> None:
        """`resume`: the checkpoint it goes on from."""
        self.config, self.rank, self.attempt, self.resume, self.listeners = config, rank, attempt, resume, listeners
        self.saver = Saver(attempt, config.checkpoint.keep_last, resume, self._first_saved)
        self.watchdog = Watchdog(config.hang_seconds, attempt.stacks_file(rank.world.rank), self._hung)
        self.peer_watch = PeerWatch(rank.control, attempt.stacks_file(rank.world.rank), self._bereft)
        self.done, self.total = 0, 0  # steps
        self.facts: dict[str, object] = {"host": socket.gethostname(), "pid": os.getpid()}  # for the status file
        self._agreement: Agreement | None = None
        self._began = self._saved = time.monotonic()
        self._beat = 0.0

    def tell(self, event: Callable[[Listener], None]) -> None:
        """Lets every listener know, on rank 0."""
        for listener in self.listeners if self.rank.first else ():
            event(listener)

    def _first_saved(self, seconds: float) -> None:
        self.tell(lambda listener: listener.saved(seconds))

    def beat(self, doing: str) -> None:
        """There is progress; `doing` says what comes next."""
        self.watchdog.beat(doing)

    def step(self, done: int) -> bool:
        """After each step but the last: whether a save is due. Raises Stopped once all ranks know of a stop, a step
        later."""
        self.done = done
        self.facts.setdefault("start_seconds", round(time.monotonic() - self._began, 1))
        self._look_alive()
        due = self.rank.first and time.monotonic() - self._saved > 60 * self.config.checkpoint.every_minutes
        self._agreement = self._agreement or Agreement(self.rank.control)
        stop, due = self._agreement.exchange(self.rank.listener.signal, due)
        if done == self.total:
            self._agreement.drain()
            self._agreement = None
            return False
        self._heed(stop)
        every = self.config.checkpoint.every_steps
        return due or (every > 0 and done % every == 0)

    def ask(self) -> None:
        """Between steps, where there is nothing new to save: raises Stopped if any rank was asked to stop."""
        self.beat(f"measuring after step {self.done}")
        self._look_alive()
        self._agreement = self._agreement or Agreement(self.rank.control)
        self._agreement.exchange(self.rank.listener.signal, False)
        self._heed(self._agreement.drain()[0])

    def _heed(self, stop: int) -> None:
        if not stop:
            return
        if self._agreement is not None:
            self._agreement.drain()
        self.saver.periodic = None  # the last save is none
        self.status("running")
        self.tell(lambda listener: listener.stopping())
        self.rank.listener.join(stop)
        raise Stopped(stop)

    @contextlib.contextmanager
    def alone(self, doing: str) -> Iterator[Callable[[], bool] | None]:
        """Rank 0 works alone: it gets a question, whether any rank was asked to stop, to be asked now and then. The
        others wait, and get None."""
        self.beat(doing)
        vigil = Vigil(self.rank.control, self.rank.listener, lambda: self.beat(doing))
        if not self.rank.first:
            vigil.wait()
            yield None
            return
        try:
            yield vigil.stopped
        finally:
            vigil.over()

    def apart(self, doing: str, work: Callable[[Tick], None]) -> None:
        """Every rank does `work`, each in its own time, and goes on once all are done. `work` calls what it is given
        with how far it got since, 0 if it waits; where no rank gets any further, the watchdog ends the attempt.

        Raises Stopped once any rank was asked to stop, and what `work` raises.
        """
        self.beat(doing)
        with Aside(work) as aside:
            busy = True
            while busy:
                flags = torch.tensor([*aside.look(), self.rank.listener.signal])
                busy, further, stop = self.rank.control.maximum(flags).tolist()
                if further:
                    self.beat(doing)
                self._look_alive()
                self._heed(stop)

    def stage(self, splits: Sequence[Split]) -> None:
        """Copies the images of `splits` to a disk of each node's own, where the settings ask for it. Raises as `apart`,
        and what `stage.copy` raises."""
        data = self.config.data
        if not data.stage:
            return

        def copy(tick: Tick) -> None:
            if (said := copy_to_node(data, splits, tick)) and not self.rank.world.local_rank:
                log.warning("%s", said)

        log.info("copying images to data.stage=%s on each node, unless they are there", data.stage)
        began = time.monotonic()
        self.apart("copying images to data.stage", copy)
        log.info("all nodes are ready after %.0f s", time.monotonic() - began)

    def save(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """A checkpoint of what `state` returns, which rank 0 is asked for, written in the background."""
        if self.rank.first:
            self.saver.submit(self.done, state())
        self._saved = time.monotonic()

    def stands(self) -> str:
        """Where another attempt would go on from."""
        self.saver.wait()
        return f"the last checkpoint is {self.saver.last}" if self.saver.last else "there is no checkpoint yet"

    def since(self) -> str:
        """Since when a rank that is gone is missed."""
        return f"step {self.done}; {self.stands()}" if self.total else "the start"

    def status(self, condition: str) -> None:
        if self.rank.first:
            self.facts["save_seconds"] = self.saver.seconds
            self.attempt.write_status(condition, self.done, self.total, **self.facts)

    def leave_stopped(self, cause: Word) -> None:
        def duties() -> None:
            self.attempt.fence()
            log.info(
                "stopped (%s) at step %d of %d; %s. The same command continues.",
                cause, self.done, self.total, self.stands(),
            )  # fmt: skip
            self._end("stopped", cause, saved=self.saver.last_step)
            self.tell(lambda listener: listener.left(cause))

        self.beat("leaving")
        self.rank.leave_together(duties)

    def leave_finished(self, last_words: LastWords) -> None:
        def duties() -> None:
            self.attempt.fence()
            mark = last_words()
            self._end("finished", Word.FINISHED)
            files.write(self.attempt.run.done_file, f"{mark}, {files.now()}\n")

        self.beat("leaving")
        self.rank.leave_together(duties)

    def _look_alive(self) -> None:
        if time.monotonic() - self._beat > HEARTBEAT:
            self._beat = time.monotonic()
            if self.rank.first:
                self.attempt.fence()
            self.status("running")

    def _hung(self, said: str) -> None:
        message = f"{said}; the stacks of all threads are in {self.watchdog.stacks}"
        log.error("%s", message)
        self.attempt.write_failure(self.rank.world.rank, Word.HANG, True, message)
        self._end("failed", Word.HANG, message=message)

    def _bereft(self) -> None:
        """Like an error of the main thread, which cannot raise one."""
        error = PeerLostError(f"another rank is gone since {self.since()}")
        log.error("%s", error)
        causes.record(error, self.attempt, self.rank.world.rank)
        self.status("failed")

    def _end(self, condition: str, cause: Word, **facts: object) -> None:
        if self.rank.first and not self.attempt.told:
            self.status(condition)
            self.attempt.write_cause(cause, self.done, **facts)
