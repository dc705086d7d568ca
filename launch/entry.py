"""What every task of a run runs: `python -m launch.entry RUN_DIR`. The one place where launch/ reaches the trainer."""

from __future__ import annotations

import contextlib
import fcntl
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

from golang.config import Config
from golang.engine.leaving import leave_now
from golang.engine.runfolder import Attempt, RunFolder, read_json
from golang.errors import GolangError
from launch import ledger
from launch.rendezvous import Place, meet
from launch.requeue import LATE, Requeue, job_id, say

STOPPED = 75  # as golang.engine.preemption has it, which would import torch
NO_PROGRESS = 78
FOR_GOOD = (2, 74, NO_PROGRESS)  # exit statuses that another try cannot mend: wrong settings, numbers that are none
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
    place = Place.find()
    marks = _Marks(run, place)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, marks.heard_early)
    try:
        config = run.config()
        _wait_for(config, run, place)
        with _turn(run, place):
            # First the seconds of importing, then the port: it should not be taken in between.
            from golang.engine.worker import work

            if place is not None:
                _tell_trainer(place, *meet(run.path, place, 1e9 if place.key.startswith("local") else 900.0))
            if place is None or place.rank == 0:
                _announce(run)
            status = work(config, run.path, scheduler=Requeue(run.path))
    except GolangError as error:
        print(error, file=sys.stderr)
        marks.write("final" if error.exit_status in FOR_GOOD else "failure", str(error))
        status = error.exit_status
    except Exception as error:
        marks.write("failure" if _may_go_better(error) else "final", f"{type(error).__name__}: {error}")
        raise
    if status in FOR_GOOD:
        marks.write("final", _reason(run) or f"exit status {status}: see {run.path}/logs")
    if place is None or place.rank == 0:
        if run.done:
            say(run.path, "finished")
        elif status in FOR_GOOD or (status not in (0, STOPPED) and not job_id()):
            say(run.path, "failed", status=status)  # else the batch script says what becomes of it
    return status


class NoProgressError(GolangError):
    """Too many attempts in a row ended where they began."""

    exit_status = NO_PROGRESS


def _may_go_better(error: Exception) -> bool:
    from golang.engine.causes import classify

    return classify(error).retry


def _reason(run: RunFolder) -> str:
    """What the newest attempt failed of, in its own words."""
    numbers = run.attempt_numbers()
    cause = read_json(run.attempts / f"{numbers[-1]:02d}" / "cause.json") if numbers else None
    return f"{cause.get('cause')}: {cause.get('message')}" if cause else ""


@dataclass(frozen=True)
class _Marks:
    """Notes for the batch script, which sees one exit status for all ranks."""

    run: RunFolder
    place: Place | None

    def write(self, kind: str, text: str) -> None:
        if self.place is None or not self.place.key.startswith("slurm."):
            return
        _, job, restarts, _ = self.place.key.split(".")
        with contextlib.suppress(OSError):
            (self.run.attempts / f"{kind}.{job}.{restarts}").write_text(text)

    def heard_early(self, number: int, frame: FrameType | None) -> None:
        """A stop signal before the trainer listens. A warning of the time limit is passed on once it does, so that
        even an attempt that started slowly gets a step further; otherwise there is no time, and nothing to save."""
        if number == signal.SIGUSR2:
            threading.Thread(target=self._pass_on, args=(number,), daemon=True).start()
            return
        self.write("stopped", signal.Signals(number).name)
        os._exit(STOPPED)

    def _pass_on(self, number: int) -> None:
        while signal.getsignal(number) == self.heard_early:
            time.sleep(0.1)
        os.kill(os.getpid(), number)


def _tell_trainer(place: Place, address: str, port: int) -> None:
    os.environ |= {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.size),
        "LOCAL_RANK": str(place.local_rank),
        "LOCAL_WORLD_SIZE": str(place.local_size),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def _announce(run: RunFolder) -> None:
    """The attempt that begins, and what the one before had done that will be done again. Raises NoProgressError where
    too many attempts of this job began at the same step."""
    numbers = run.attempt_numbers()
    before = run.attempts / f"{numbers[-1]:02d}" if numbers else None
    status = (read_json(before / "status.json") or {}) if before else {}
    saved = [int(path.name[5:13]) for path in run.checkpoints.glob("step_*.pt") if path.name[5:13].isdecimal()]
    resumes, job = max(saved, default=0), os.environ.get("GOLANG_JOB", "") or job_id()
    earlier = [
        line for line in ledger.read(run.path.parent)
        if line["event"] == "attempt" and line["folder"] == run.path.name and job and line["job"] == job
    ]  # fmt: skip
    if before is not None and not (before / "cause.json").exists() and not run.done:
        # Neither its ranks nor its batch script had time to say so; Slurm's own requeue is of a lost node.
        name = "node lost" if earlier else "killed"
        Attempt(run, numbers[-1]).write_cause(name, int(status.get("step", 0)), by=LATE)
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
        attempt=numbers[-1] + 1 if numbers else 0,
        resumes=resumes,
        reached=status.get("step", 0),
        node=os.environ.get("SLURM_JOB_NODELIST", ""),
    )


def _wait_for(config: Config, run: RunFolder, place: Place | None) -> None:
    """On this machine: until the run that is to be evaluated has finished, or is no longer under way. Slurm has
    dependencies."""
    if place is None or not place.key.startswith("local") or not config.evaluation.run:
        return
    parent = RunFolder(config.evaluation.checkpoint or "")
    jobs = [line["job"] for line in ledger.read(run.path.parent) if line["folder"] == parent.path.name and line["job"]]
    pid = jobs[-1].removeprefix("local:") if jobs else ""
    while not parent.done and pid.isdecimal() and Path(f"/proc/{pid}").exists():
        time.sleep(0.5)


@contextlib.contextmanager
def _turn(run: RunFolder, place: Place | None) -> Iterator[None]:
    """On this machine: waits until fewer runs of the sweep than its limit are under way. Slurm counts by itself."""
    slots = int(os.environ.get("GOLANG_LOCAL_SLOTS", "0"))
    if not slots or place is None or place.rank != 0:
        yield
        return
    with contextlib.ExitStack() as held:
        files = [held.enter_context((run.path.parent / f".turn{number}.lock").open("a")) for number in range(slots)]
        while not any(_locked(file) for file in files):
            time.sleep(0.5)
        yield


def _locked(file: Any) -> bool:  # noqa: ANN401 - any open file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m launch.entry RUN_DIR")
    leave_now(main(sys.argv[1]))
