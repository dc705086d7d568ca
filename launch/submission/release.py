"""Jobs that wait for ever, and those among them that Slurm itself held after a requeue: put back into its queue, each a
bounded number of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch import reasons, slurm
from launch.errors import SlurmError
from launch.submission.limits import Limits
from launch.sweep import ledger
from launch.sweep.find import Run

LIMIT = 3  # releases of one job; what holds it once more needs a person
_Lines = Sequence[Mapping[str, Any]]  # of the sweep's ledger


def look(run: Run, job: slurm.Job, lines: _Lines, limits: Limits) -> tuple[bool, str]:
    """Whether the job that waits for the run does so for ever, and why it waits. Nothing is changed."""
    reason = reasons.find(job.reason)
    if reason.kind is reasons.Kind.LIMIT and (more := limits.above(job)):
        reason = reasons.above(more)
    why = reason.say(job.reason, job.id, run.path)
    if number := _due(reason, job, lines):
        left = f"{LIMIT + 1 - number} of {LIMIT} times"
        return True, f"{why}, or the same command again, which does that ({left} still)"
    return reason.stuck, f"Slurm was asked {LIMIT} times to release it: {why}" if number is None else why


def release(run: Run, job: slurm.Job, lines: _Lines, limits: Limits) -> tuple[bool, str]:
    """As `look`, once a job that Slurm held after a requeue, by its reason or by the ledger, is released. Never raises:
    what failed is said."""
    if not (number := _due(reasons.find(job.reason), job, lines)):
        return look(run, job, lines, limits)
    count, why = f"{number} of {LIMIT}", reasons.find(job.reason).say(job.reason, job.id, run.path)
    try:  # noted before: what can't be counted is not done
        ledger.append(
            run.sweep, "note", run=run.identity, folder=run.path.name, submission=job.submission, job=job.id,
            reason=f"asks Slurm to release it from: {job.reason} ({count})", release=number,
        )  # fmt: skip
        slurm.run(["scontrol", "release", job.id], slurm.LOOK)
    except (SlurmError, ledger.LedgerError) as error:
        return True, f"{why}; not released ({count}): {error}"
    return False, f"released, as Slurm held it: {job.reason} ({count})"


def _due(reason: reasons.Reason, job: slurm.Job, lines: _Lines) -> int | None:
    """Which release of the job this would be, from 1; 0 if it isn't the launcher's to release; None after the last."""
    own = [line for line in lines if line["job"] == job.id]
    number = 1 + sum("release" in line for line in own)
    began = number > 1 or any(line["event"] in ("attempt", "requeued") for line in own)
    if reason.kind is not reasons.Kind.HELD or not (began or "requeue" in job.reason.lower()):
        return 0
    return number if number <= LIMIT else None
