"""What stops runs, each as a function that lets it happen to a run of its own and waits until that has finished.

The ranks are held (SIGSTOP) at the step where a cause is to strike, so that neither a fast machine has finished by then
nor a slow one needs thousands of steps; Slurm's own signals, or SIGCONT, let them go on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from .runs import NODES, TASKS, Seen, Typist, preempt

EVERY = 3  # steps between saves
Outcome = tuple[Seen, float | None]  # the finished run, and the seconds from the blow to the first new step
SLOW_DISK = """
import os, re, time
real = os.fsync
def fsync(file):
    name = os.readlink(f"/proc/self/fd/{{file}}")
    step = re.search(r"step_(\\d+)", name)
    if step and int(step[1]) >= {step} and not {{"SLURM_RESTART_COUNT", "GOLANG_IN_PLACE"}} & os.environ.keys():
        time.sleep({seconds})
    real(file)
os.fsync = fsync
"""


def back(run: Seen, blow: float, reached: int) -> Outcome:
    """Waits until a later attempt has got further than `reached`, and then until the run is done."""
    first = len(run.attempts)
    run.wait(lambda run: (len(run.attempts) > first and run.step > reached) or run.done, 180, "back")
    lost = time.monotonic() - blow
    return run.wait_done(), lost


def slow_disk(typist: Typist, sweep: str, step: int, seconds: float) -> str:
    """An override under which the first attempt's saves from `step` on take that long."""
    folder = typist.folder / f"disk_{sweep}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SLOW_DISK.format(step=step, seconds=seconds))
    return f"cluster.env.PYTHONPATH={folder}"


def out_of_time(typist: Typist, run: Seen, seconds: int) -> Outcome:
    """Moves the job's end to that many seconds from now; back in the queue, it gets the time to end."""
    typist.cluster.run("scontrol", "update", f"JobId={run.job}", f"EndTime=now+{seconds}")
    reached = run.step
    run.wait(lambda run: run.record()["JobState"] == "PENDING", 120, "in the queue again")
    blow = time.monotonic()  # Slurm looks at the clock twice a minute: the wait for it is not lost
    typist.cluster.run("scontrol", "update", f"JobId={run.job}", "TimeLimit=30")
    return back(run, blow, reached)


def time_limit(typist: Typist, sweep: str) -> Outcome:
    (run,) = typist.submit("cluster.time=30", "cluster.lead=30", sweep=sweep)
    run.hold_at(2)
    return out_of_time(typist, run, seconds=59)


def time_limit_missed(typist: Typist, sweep: str) -> Outcome:
    """The save takes longer than what is left of the time."""
    disk = slow_disk(typist, sweep, step=4, seconds=120)
    (run,) = typist.submit("cluster.time=30", "cluster.lead=30", disk, sweep=sweep)
    run.hold_at(EVERY)  # the stop is agreed on at the next step or soon after it
    return out_of_time(typist, run, seconds=5)


def preempted(typist: Typist, sweep: str, *overrides: str, step: int = 4) -> Outcome:
    (run,) = typist.submit(*overrides, sweep=sweep)
    run.hold_at(step)
    blow, reached = time.monotonic(), run.step
    preempt(typist.cluster, run)
    return back(run, blow, reached)


def no_grace(typist: Typist, sweep: str) -> Outcome:
    return preempted(typist, sweep, "cluster.partition=now")


def grace_missed(typist: Typist, sweep: str) -> Outcome:
    """The save takes longer than the grace: Slurm kills, and puts the job back by itself."""
    return preempted(typist, sweep, slow_disk(typist, sweep, step=4, seconds=120), step=5)


class OfAnArray(Typist):
    """Types every command as a grid of two, and sees the second run of it alone."""

    def command(self, *overrides: str) -> list[str]:
        return super().command(*overrides, "name=one,two")

    def runs(self, sweep: str) -> list[Seen]:
        return super().runs(sweep)[1:]


def element(scenario: Callable[[Typist, str], Outcome]) -> Callable[[Typist, str], Outcome]:
    """The same, happening to one element of an array; the other one has nothing to do with it."""

    def of_an_array(typist: Typist, sweep: str) -> Outcome:
        outcome = scenario(OfAnArray(typist.cluster, typist.folder, typist.settings), sweep)
        first, second = typist.runs(sweep)
        first.wait_done()
        began = next(line["job"] for line in second.events() if line["event"] == "submitted")
        assert first.job.endswith("_0") and began.endswith("_1") and len(first.attempts) == 1
        return outcome

    return of_an_array


def suspended(typist: Typist, sweep: str) -> Outcome:
    """Stands still while another job runs, and goes on: no attempt is counted, and nobody takes it for a hang."""
    (run,) = typist.submit("hang_seconds=8", sweep=sweep)
    run.wait_step(3)
    blow = time.monotonic()
    preempt(typist.cluster, run, seconds=12)
    typist.cluster.wait_job(run.job, "SUSPENDED", 30)
    typist.cluster.wait_job(run.job, ("RUNNING", "COMPLETED", "COMPLETING"), 120)
    lost = time.monotonic() - blow
    run.wait_done()
    assert len(run.attempts) == 1 and "no progress" not in run.text()
    return run, lost


def cancelled(typist: Typist, sweep: str, strike: Callable[[Seen], object], *overrides: str) -> Outcome:
    """Ends for good; typed again, the command continues."""
    (run,) = typist.submit(*overrides, sweep=sweep)
    strike(run)
    typist.cluster.run("scancel", run.job)
    run.wait(lambda run: not run.ranks(), 30, "without ranks after scancel")
    typist.cluster.wait_job(run.job, "CANCELLED")
    time.sleep(7)  # longer than a requeued job would stay away
    fields = run.record()
    assert fields["JobState"] == "CANCELLED" and fields["Restarts"] == "0"
    (again,) = typist.submit(*overrides, sweep=sweep)
    assert again.path == run.path and again.job != run.job
    return again.wait_done(), None


def cancelled_at_start(typist: Typist, sweep: str) -> Outcome:
    return cancelled(typist, sweep, lambda run: run.wait(lambda run: len(run.ranks()) == NODES * TASKS, 60, "started"))


def cancelled_in_a_step(typist: Typist, sweep: str) -> Outcome:
    return cancelled(typist, sweep, lambda run: run.hold_at(5))


def cancelled_in_a_save(typist: Typist, sweep: str) -> Outcome:
    def saving(run: Seen) -> None:
        run.wait(lambda run: list(run.path.glob("checkpoints/.step_00000006.*.tmp")), 120, "saving")

    return cancelled(typist, sweep, saving, slow_disk(typist, sweep, step=6, seconds=2))


def terminated(typist: Typist, sweep: str, *overrides: str) -> Outcome:
    """`scancel --signal=TERM`: someone's polite request, after which the run comes back."""
    (run,) = typist.submit(*overrides, sweep=sweep)
    run.wait_step(4)
    blow, reached = time.monotonic(), run.step
    typist.cluster.run("scancel", "--signal=TERM", run.job)
    return back(run, blow, reached)


def without_scontrol(typist: Typist, sweep: str) -> Outcome:
    """The tasks can't ask Slurm, as in many a container; the batch script does."""
    return preempted(typist, sweep, f"cluster.python='/usr/bin/env PATH=/nowhere {sys.executable}'")
