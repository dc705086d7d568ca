"""What every task of a run runs: `python -m launch.node.entry RUN_DIR`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from golang import exits
from golang.config import Config
from golang.errors import GolangError
from golang.runfolder import lock
from golang.runfolder.causes import Word
from golang.runfolder.checkpoints import entries
from golang.runfolder.folder import RunFolder
from golang.world import World
from launch.node.rendezvous import meet
from launch.node.requeue import LATE, Requeue, job_id, say
from launch.sweep import ledger

PATIENCE = 3  # attempts in a row that end with nothing newly saved
log = logging.getLogger("golang")


@dataclass(frozen=True)
class Run:
    """What submitit pickles: the folder of a run, which is the whole truth about it."""

    path: str

    def __call__(self) -> int:
        status = main(self.path)
        if status:
            sys.exit(status)
        return status

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
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, marks.heard_early)
    try:
        config = run.config()
        _wait_for(config, run, world)
        with _turn(run, world):
            # First the seconds of importing, then the port: it should not be taken in between.
            from golang.engine.doorway import prepare
            from golang.processes.worker import work

            if world.launcher:
                world = meet(run, world)
            config = prepare(config, world)
            if world.rank == 0:
                _announce(run)
            status = work(config, run.path, world, [Requeue(run.path)])
    except GolangError as error:
        print(error, file=sys.stderr)
        marks.write("final" if error.exit_status in exits.FOR_GOOD else "failure", str(error))
        status = error.exit_status
    except Exception as error:
        marks.write("failure" if _may_go_better(error) else "final", f"{type(error).__name__}: {error}")
        raise
    if status in exits.FOR_GOOD:
        marks.write("final", _reason(run) or f"exit status {status}: see {run.path}/logs")
    if world.rank == 0:
        if run.done:
            say(run.path, "finished")
        elif status in exits.FOR_GOOD or (status not in (0, exits.STOPPED) and not job_id()):
            say(run.path, "failed", status=status)  # else the batch script says what becomes of it
    return status


class NoProgressError(GolangError):
    """Too many attempts in a row ended where they began."""

    exit_status = exits.NO_PROGRESS


def _may_go_better(error: Exception) -> bool:
    from golang.engine.causes import classify

    return classify(error).retry


def _reason(run: RunFolder) -> str:
    """What the newest attempt failed of, in its own words."""
    last = run.last_attempt()
    cause = last.cause() if last else {}
    return f"{cause.get('cause')}: {cause.get('message')}" if cause else ""


@dataclass(frozen=True)
class _Marks:
    """Notes for the batch script, which sees one exit status for all ranks."""

    run: RunFolder
    world: World

    def write(self, kind: str, text: str) -> None:
        if self.world.launcher != "slurm":
            return
        _, job, restarts, _ = self.world.life.split(".")
        with contextlib.suppress(OSError):
            self.run.note(kind, job, restarts).write_text(text)

    def heard_early(self, number: int, frame: FrameType | None) -> None:
        """A stop signal before the trainer listens. A warning of the time limit is passed on once it does, so that
        even an attempt that started slowly gets a step further; otherwise there is no time, and nothing to save."""
        if number == signal.SIGUSR2:
            threading.Thread(target=self._pass_on, args=(number,), daemon=True).start()
            return
        self.write("stopped", signal.Signals(number).name)
        os._exit(exits.STOPPED)

    def _pass_on(self, number: int) -> None:
        while signal.getsignal(number) == self.heard_early:
            time.sleep(0.1)
        os.kill(os.getpid(), number)


def _announce(run: RunFolder) -> None:
    """The attempt that begins, and what the one before had done that will be done again. Raises NoProgressError where
    too many attempts of this job began at the same step."""
    before = run.last_attempt()
    status = before.status() if before else {}
    resumes = max((entry.step for entry in entries(run)), default=0)
    job = os.environ.get("GOLANG_JOB", "") or job_id()
    earlier = [
        line for line in ledger.read(run.path.parent)
        if line["event"] == "attempt" and line["folder"] == run.path.name and job and line["job"] == job
    ]  # fmt: skip
    if before is not None and not before.cause_file.exists() and not run.done:
        # Neither its ranks nor its batch script had time to say so; Slurm's own requeue is of a lost node.
        before.write_cause(Word.NODE_LOST if earlier else Word.KILLED, int(status.get("step", 0)), by=LATE)
    last = earlier[-PATIENCE:]
    if len(last) == PATIENCE and all(line.get("resumes") == resumes for line in last):
        raise NoProgressError(
            f"{PATIENCE} attempts in a row began at step {resumes} and ended with nothing newly saved; the logs and "
            f"cause.json below {run.attempts} say why. A shorter checkpoint.every_minutes or a longer cluster.time may "
            "help; then type the same command again"
        )
    say(
        run.path,
        "attempt",
        attempt=before.number + 1 if before else 0,
        resumes=resumes,
        reached=status.get("step", 0),
        node=os.environ.get("SLURM_JOB_NODELIST", ""),
    )


def _wait_for(config: Config, run: RunFolder, world: World) -> None:
    """On this machine: until the run that is to be evaluated has finished, or is no longer under way. Slurm has
    dependencies."""
    if world.launcher != "submitit" or not config.evaluation.run:
        return
    parent = RunFolder(config.evaluation.checkpoint or "")
    jobs = [line["job"] for line in ledger.read(run.path.parent) if line["folder"] == parent.path.name and line["job"]]
    pid = jobs[-1].removeprefix("local:") if jobs else ""
    while not parent.done and pid.isdecimal() and Path(f"/proc/{pid}").exists():
        time.sleep(0.5)


@contextlib.contextmanager
def _turn(run: RunFolder, world: World) -> Iterator[None]:
    """On this machine: waits until fewer runs of the sweep than its limit are under way. Slurm counts by itself."""
    slots = int(os.environ.get("GOLANG_LOCAL_SLOTS", "0"))
    if not slots or not world.launcher or world.rank != 0:
        yield
        return
    with contextlib.ExitStack() as held:
        files = [held.enter_context((run.path.parent / f".turn{number}.lock").open("a")) for number in range(slots)]
        while not any(lock.take(file) for file in files):
            time.sleep(0.5)
        yield


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m launch.node.entry RUN_DIR")
    exits.leave_now(main(sys.argv[1]))
