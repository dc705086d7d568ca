"""What becomes of a run that was stopped, by Slurm's word; job.sh holds the same table for tasks that could not ask."""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from golang.engine.listeners import Listener
from golang.runfolder.causes import Word
from golang.runfolder.folder import RunFolder
from launch import slurm
from launch.errors import SlurmError
from launch.sweep import ledger

log = logging.getLogger("golang")
PATIENCE = 10.0  # seconds for an answer: the grace after a signal may be short


class Verdict(enum.Enum):
    REQUEUE = "requeue"  # it is ours to put back
    ALREADY = "already"  # Slurm has put it back
    ENDED = "ended"  # cancelled, or at its end: never put it back


def decide(record: Mapping[str, str], restarts: int) -> Verdict:
    """From `scontrol show job` while the job ends; `restarts` is what this attempt began with."""
    state = record.get("JobState", "")
    if int(record.get("Restarts", "0")) > restarts or state in ("PENDING", "REQUEUED"):
        return Verdict.ALREADY
    # Running: preempted, near its limit, or sent a signal. Else: PreemptMode=CANCEL; out of time before it had saved.
    if state in ("RUNNING", "PREEMPTED", "TIMEOUT") or record.get("Reason") == "TimeLimit":
        return Verdict.REQUEUE
    if state == "COMPLETING" and record.get("EndTime", "Unknown") == "Unknown":
        return Verdict.ALREADY
    # COMPLETING with an end, CANCELLED, COMPLETED: scontrol requeue would revive it against its owner's will.
    return Verdict.ENDED


def job_id(environ: Mapping[str, str] = os.environ) -> str:
    """This job as scontrol wants it: an array's element by array and index, whose raw id may be the array's own."""
    if "SLURM_ARRAY_JOB_ID" in environ and "SLURM_ARRAY_TASK_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID", "")


def name_cause(verdict: Verdict, record: Mapping[str, str], cause: str) -> str:
    """What a stop is called once Slurm has been asked; `cause` is what the ranks heard."""
    if verdict is Verdict.ENDED:
        return Word.CANCELLED
    preempted = record.get("PreemptTime", "None") not in ("None", "Unknown") or record.get("JobState") == "PREEMPTED"
    return Word.PREEMPTED if preempted or verdict is Verdict.ALREADY else cause


class Requeue(Listener):
    """Slurm's side of an attempt: rank 0 puts the job back in its queue before all ranks leave."""

    def __init__(self, run_dir: Path, environ: Mapping[str, str] = os.environ) -> None:
        self.run_dir, self.environ = run_dir, environ

    def saved(self, seconds: float) -> None:
        """Warns where Slurm's warnings come too late for a save that takes that long."""
        if not job_id(self.environ):
            return
        needed = round(15 + 2 * seconds)  # the ranks agree and gather, then save, then ask Slurm
        lead = int(self.environ.get("GOLANG_LEAD", needed))
        if lead < needed:
            log.warning(
                "a save took %.0f s, but Slurm warns only %d s before the time limit: set cluster.lead=%d",
                seconds, lead, needed,
            )  # fmt: skip
        try:
            partition, *_ = slurm.partitions(self.environ.get("SLURM_JOB_PARTITION", ""), PATIENCE)
            mode, warned, kill_wait = slurm.grace(partition, slurm.config(PATIENCE))
        except SlurmError as error:
            log.info("how long a preempted job has here is not known: %s", error)
            return
        if mode not in ("OFF", "SUSPEND") and (left := warned + kill_wait) < needed:
            log.warning(
                "a save took %.0f s, but a preempted job has %d s here (GraceTime and KillWait): ask for a GraceTime "
                "of %d s; until then a preemption loses up to checkpoint.every_minutes of work", seconds, left, needed,
            )  # fmt: skip

    def left(self, cause: str) -> None:
        """Puts the job back in the queue if Slurm's word allows it. Never raises: the batch script tries again."""
        job, restarts = job_id(self.environ), int(self.environ.get("SLURM_RESTART_COUNT", "0"))
        if not job:
            say(self.run_dir, "stopped", cause=cause)
            return
        try:
            record = slurm.record(job, PATIENCE)
            verdict = decide(record, restarts)
            # While the tasks are there, the batch script puts back a job that has no time left to wait for them.
            asked = {"event": "requeued", "by": "batch script", "job": job, "restarts": restarts}
            out_of_time = any(asked.items() <= line.items() for line in ledger.read(self.run_dir.parent))
            cause = Word.TIME_LIMIT if out_of_time else name_cause(verdict, record, cause)
            attempt = RunFolder(self.run_dir).last_attempt()
            assert attempt is not None
            heard = {"step": 0} | {key: value for key, value in attempt.cause().items() if key not in ("cause", "at")}
            with contextlib.suppress(OSError):
                attempt.write_cause(cause, **heard)
            if verdict is Verdict.REQUEUE and record.get("BatchFlag") == "0":
                say(self.run_dir, "stopped", cause=cause)
                log.info("job %s is interactive, so it is not put back in the queue; the same command continues", job)
            elif verdict is Verdict.REQUEUE:
                # Before asking: once Slurm has heard it, this process may have no time left.
                say(self.run_dir, "requeued", cause=cause)
                slurm.run(["scontrol", "requeue", job], PATIENCE)
                log.info("job %s is in the queue again (%s)", job, cause)
            elif verdict is Verdict.ALREADY:
                say(self.run_dir, "requeued", cause=cause, by="slurm")
                log.info("Slurm has put job %s in the queue again (%s)", job, cause)
            else:
                say(self.run_dir, "cancelled", cause=cause)
                log.info("job %s was cancelled; it will not come back by itself", job)
        except SlurmError as error:
            log.warning("%s. The run is saved; the batch script will try again to put job %s in the queue", error, job)


def say(run_dir: Path, event: ledger.Event, **facts: object) -> None:
    """A line in the sweep's ledger about this run; a full disk must not stop a run."""
    try:
        ledger.append(
            run_dir.parent, event, run=run_dir.name.rpartition("-")[2], folder=run_dir.name,
            submission=os.environ.get("GOLANG_SUBMISSION", ""), job=os.environ.get("GOLANG_JOB", "") or job_id(),
            restarts=int(os.environ.get("SLURM_RESTART_COUNT", "0")), at=round(time.time(), 2), **facts,
        )  # fmt: skip
    except ledger.LedgerError as error:
        log.warning("%s", error)
