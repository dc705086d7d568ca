"""Slurm's commands, asked with patience and answered in plain data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.errors import SlurmError

PATIENCE = float(os.environ.get("GOLANG_SLURM_PATIENCE", "60"))  # seconds for the controller, which may be busy
COMMENT = "golang:"  # how our jobs' comments begin


@dataclass(frozen=True)
class Job:
    """A job or array element that Slurm still has."""

    id: str  # "123" or "123_4"
    index: int  # in its array; 0 for a job that is none
    state: str  # PENDING, RUNNING, COMPLETING, …
    comment: str


def run(
    command: Sequence[str | Path],
    patience: float = PATIENCE,
    keep_open: Sequence[int] = (),
    script_sets: Sequence[str] = (),
) -> str:
    """What one of Slurm's commands says. It inherits the descriptors `keep_open`, and no variable that would overrule
    the options `script_sets` of a batch script. Raises SlurmError."""
    name = str(command[0])
    if shutil.which(name) is None:
        raise SlurmError(
            f"no Slurm on this machine: there is no {name}. Log in to a machine of the cluster, or train here: "
            "cluster=none for one run, cluster=local for several"
        )
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=patience, pass_fds=keep_open, env=environment(script_sets=script_sets), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"Slurm did not answer within {patience:g} s ({name}); nothing was lost: wait a little and type the same "
            "command again (scontrol ping shows whether the controller is up)"
        ) from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-800:]
        raise SlurmError(f"{name} failed: {said or f'exit status {done.returncode}'}")
    return done.stdout


def environment(environ: Mapping[str, str] = os.environ, script_sets: Sequence[str] = ()) -> dict[str, str]:
    """The environment without what a surrounding job says of itself, and without those SBATCH_ variables that would
    overrule an option in the script (`script_sets`, as sbatch spells them)."""
    names = {"time": "TIMELIMIT", "cpus-per-task": "CPUS_PER_TASK"}
    ours = {"SBATCH_NO_REQUEUE"} if "requeue" in script_sets else set()
    ours |= {f"SBATCH_{names.get(option, option.upper().replace('-', '_'))}" for option in script_sets}
    return {
        name: value
        for name, value in environ.items()
        if (not name.startswith(("SLURM_", "SLURMD_")) or name == "SLURM_CONF") and name not in ours
    }


def our_jobs() -> list[Job]:
    """Every job of ours that is waiting, running or ending, array elements one by one. Raises SlurmError."""
    text = run(["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i|%K|%T|%r|%k"])
    jobs = []
    for line in text.splitlines():
        identifier, index, state, reason, comment = line.split("|", 4)
        if comment.startswith(COMMENT) and reason != "DependencyNeverSatisfied":  # Slurm is about to cancel those
            jobs.append(Job(identifier.strip(), int(index) if index.isdecimal() else 0, state, comment.strip()))
    return jobs


def largest_array() -> int:
    """How many elements an array may have here: Slurm's limit is one for their index as well."""
    return max(1, int(config().get("MaxArraySize", 1001)))


def config() -> dict[str, str]:
    """What `scontrol show config` says, by name. Raises SlurmError."""
    return dict(re.findall(r"^(\w+)\s*= ?(.*?) *$", run(["scontrol", "show", "config"]), re.MULTILINE))


def record(job: str, patience: float = 20.0) -> dict[str, str]:
    """What `scontrol show job` says, by field. Raises SlurmError."""
    return fields(run(["scontrol", "--oneliner", "show", "job", job], patience).partition("\n")[0])


def fields(line: str) -> dict[str, str]:
    """A line of `scontrol --oneliner show`, by field."""
    return dict(re.findall(r"(?:^|(?<= ))([A-Z][\w:/]*)=(.*?) *(?= [A-Z][\w:/]*=|$)", line))


def grace(partition: str) -> tuple[str, int]:
    """What becomes of preempted jobs of a partition, and the seconds from the first signal to SIGKILL.

    Raises SlurmError.
    """
    shown = run(["scontrol", "--oneliner", "show", "partition", partition], 10.0)
    config = run(["scontrol", "show", "config"], 10.0)
    mode = re.search(r"\bPreemptMode=(\w+)", shown)
    given = re.search(r"\bGraceTime=(\d+)", shown)
    wait = re.search(r"^KillWait\s*=\s*(\d+)", config, re.MULTILINE)
    return mode[1] if mode else "OFF", int(given[1] if given else 0) + int(wait[1] if wait else 30)
