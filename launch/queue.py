"""What Slurm says about jobs: one squeue for all of them, then one sacct for those it no longer knows."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

PATIENCE = 20  # seconds for an answer
# Slurm keeps these for a job that may still run, or run again.
ACTIVE = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "SUSPENDED",
        "REQUEUED",
        "REQUEUE_HOLD",
        "RESIZING",
        "STAGE_OUT",
    }
)


@dataclass(frozen=True)
class Job:
    """One job, or one element of an array."""

    state: str  # Slurm's word, without what follows it
    nodes: str = ""
    reason: str = ""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True)
class Answer:
    """Jobs by id ("123" or "123_4"), and what could not be asked."""

    jobs: dict[str, Job]
    trouble: str = ""


def ask(jobs: Collection[str]) -> Answer:
    """The state of `jobs`, as far as Slurm knows them. Never raises: `trouble` says what went wrong."""
    jobs = [job for job in jobs if not job.startswith("local:")]
    if not jobs:
        return Answer({})
    if shutil.which("squeue") is None:
        return Answer({}, "squeue is not on the PATH here: states are from the run folders alone")
    found, trouble = _squeue()
    unknown = [job for job in jobs if job not in found]
    if unknown and shutil.which("sacct") is not None:
        found |= _sacct(unknown)
    return Answer({job: found[job] for job in jobs if job in found}, trouble)


def _squeue() -> tuple[dict[str, Job], str]:
    # -r: an array's waiting elements on lines of their own; %i is then 123_4.
    command = ["squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%T|%N|%r"]
    text, trouble = _run(command)
    jobs = {}
    for line in text.splitlines():
        identifier, state, nodes, reason = (line.split("|") + [""] * 3)[:4]
        jobs[identifier] = Job(state, nodes, "" if reason == "None" else reason)
    return jobs, trouble


def _sacct(jobs: Collection[str]) -> dict[str, Job]:
    """What accounting remembers; nothing where there is none."""
    numbers = ",".join(sorted({job.split("_")[0] for job in jobs}))
    text, _ = _run(["sacct", "-n", "-P", "-X", "-D", "-j", numbers, "-o", "JobID,State,NodeList"])
    found = {}
    for line in text.splitlines():
        identifier, state, nodes = (line.split("|") + [""] * 2)[:3]
        found[identifier] = Job(state.split(" ")[0], nodes)
    return found


def _run(command: list[str]) -> tuple[str, str]:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "", f"{command[0]} gave no answer within {PATIENCE} s: states are from the run folders; ask again later"
    except OSError as error:
        return "", f"{command[0]} can't be started: {error}"
    if result.returncode != 0:
        return "", f"{command[0]} failed: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    return result.stdout, ""
