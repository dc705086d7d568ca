"""What every task of a run runs: `python -m launch.node.entry RUN_DIR`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from golang import exits, logs
from golang.config import Config
from golang.errors import GolangError
from golang.runfolder import files
from golang.runfolder.causes import LATE, Word
from golang.runfolder.checkpoints import entries
from golang.runfolder.folder import RunFolder
from golang.world import World
from launch.node import notify
from launch.node.rendezvous import meet
from launch.node.requeue import Requeue, job_id, say
from launch.sweep import here, ledger
from launch.sweep.find import runs_of

PATIENCE = 3  # attempts in a row that end with nothing newly saved
_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)  # of the time limit
log = logging.getLogger("golang")


@dataclass(frozen=True)
class Task:
    """What submitit calls: the folder of a run, which is the whole truth about it."""

    path: str

    def __call__(self) -> int:
        if status := main(self.path):
            sys.exit(status)
        return 0

    def checkpoint(self) -> Any:  # noqa: ANN401 - submitit has no types
        """submitit's protocol: the same call again continues the run from its folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def main(path: str) -> int:
    """Takes this task's place among its peers and trains; the exit status."""
    if folder := os.environ.get("GOLANG_CWD"):
        with contextlib.suppress(OSError):
            os.chdir(folder)
    run = RunFolder(path)
    world = World.of_task()
    marks = _Marks(run, world)
    for number in (signal.SIGTERM, signal.SIGHUP, *_WARNINGS):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, marks.heard_early)
    try:
        config = run.config()
        _wait_for(config, run, world)
        slots = int(os.environ.get("GOLANG_LOCAL_SLOTS", "0"))  # Slurm counts by itself
        waits = slots and world.launcher and world.rank == 0
        with here.turn(run.path.parent, slots) if waits else contextlib.nullcontext():
            # First the seconds of importing, then the port: it should not be taken in between.
            from golang.engine.doorway import prepare
            from golang.processes.worker import work

            if world.launcher:
                world = meet(run, world)
            config = prepare(config, world, run.path)
            if world.rank == 0:
                _announce(run)
            status = work(config, run.path, world, [Requeue(run.path)])
    except GolangError as error:
        print(error, file=sys.stderr)
        marks.write("final" if error.exit_status in exits.FOR_GOOD else "failure", str(error))
        status = error.exit_status
    except Exception as error:
        from golang.engine.causes import classify

        marks.write("failure" if classify(error).retry else "final", f"{type(error).__name__}: {error}")
        _tell(run, world, 1)
        raise
    if status in exits.FOR_GOOD:
        cause = last.cause() if (last := run.last_attempt()) else {}
        said = f"{cause.get('cause')}: {cause.get('message')}" if cause else ""
        marks.write("final", said or f"exit status {status}: see {run.logs}")
    if world.rank == 0:
        if run.done:
            say(run.path, "finished")
        elif status in exits.FOR_GOOD or (status not in (0, exits.STOPPED) and not job_id()):
            say(run.path, "failed", status=status)  # else the batch script says what becomes of it
    _tell(run, world, status)
    return status


def _tell(run: RunFolder, world: World, status: int) -> None:
    """News of the end of a run on this machine; on Slurm the batch script tells, which knows what becomes of a run."""
    if world.rank == 0 and not job_id() and status not in (exits.STOPPED, exits.BUSY):
        life = os.environ.get("GOLANG_SUBMISSION", "")
        notify.tell([notify.End(run.path, "failed" if status else "finished", life)])


class NoProgressError(GolangError):
    """Too many attempts in a row ended where they began."""

    exit_status = exits.NO_PROGRESS


@dataclass(frozen=True)
class _Marks:
    """Notes for the batch script, which sees one exit status for all ranks."""

    run: RunFolder
    world: World

    def write(self, kind: str, text: str) -> None:
        if self.world.launcher == "slurm":
            _, job, restarts, _ = self.world.life.split(".")
            with contextlib.suppress(OSError):
                self.run.note(kind, job, restarts).write_text(text)

    def heard_early(self, number: int, frame: FrameType | None) -> None:
        """A stop signal before the trainer listens. A warning of the time limit is passed on once it does, so that
        even an attempt that started slowly gets a step further; otherwise there is no time, and nothing to save."""
        if number not in _WARNINGS:
            self.write("stopped", signal.Signals(number).name)
            os._exit(exits.STOPPED)
        threading.Thread(target=self._pass_on, args=(number,), daemon=True).start()

    def _pass_on(self, number: int) -> None:
        while signal.getsignal(number) == self.heard_early:
            time.sleep(0.1)
        os.kill(os.getpid(), number)


def _announce(run: RunFolder) -> None:
    """The attempt that begins. Raises NoProgressError where too many of this job began at the same step."""
    before = run.last_attempt()
    status = before.status() if before else {}
    resumes = max((entry.step for entry in entries(run)), default=0)
    job = os.environ.get("GOLANG_JOB", "") or job_id()
    earlier = [
        line for line in ledger.read(run.path.parent)
        if line["event"] == "attempt" and line["folder"] == run.path.name and job and line["job"] == job
    ]  # fmt: skip
    if before is not None:
        files.look_again(before.path)
        if not before.cause_file.exists() and not run.done:
            # Neither its ranks nor its batch script had time to say so; Slurm's own requeue is of a lost node.
            before.write_cause(Word.NODE_LOST if earlier else Word.KILLED, int(status.get("step", 0)), by=LATE)
    last = earlier[-PATIENCE:]
    if len(last) == PATIENCE and all(line.get("resumes") == resumes for line in last):
        raise NoProgressError(
            f"{PATIENCE} attempts in a row began at step {resumes} and ended with nothing newly saved; the logs and "
            f"cause.json below {run.attempts} say why. A shorter checkpoint.every_minutes or a longer cluster.time may "
            "help; then type the same command again"
        )
    number, node = before.number + 1 if before else 0, os.environ.get("SLURM_JOB_NODELIST", "")
    again = os.environ.get("GOLANG_IN_PLACE")  # how often this life's tasks have started again on the same nodes
    facts = {"attempt": number, "resumes": resumes, "reached": status.get("step", 0), "node": node}
    say(run.path, "attempt", **facts | ({"in_place": int(again)} if again else {}))


def _wait_for(config: Config, run: RunFolder, world: World) -> None:
    """Until the run that is to be evaluated is no longer under way on this machine. Slurm has dependencies."""
    if world.launcher != "submitit" or not config.evaluation.run:
        return
    (parent,) = runs_of(run.path.parent, [Path(config.evaluation.checkpoint or "")])
    while not RunFolder(parent.path).done and here.controller(parent) is not None:
        time.sleep(0.5)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m launch.node.entry RUN_DIR")
    logs.leave_now(main(sys.argv[1]))
