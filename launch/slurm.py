"""Slurm's commands, asked with patience and answered in plain data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.errors import SlurmError

PATIENCE = float(os.environ.get("GOLANG_SLURM_PATIENCE", "60"))  # seconds for the controller, which may be busy
LOOK = 20  # seconds for it where its answer is only to be shown
COMMENT = "golang:"  # what a submission's id follows in the comments of our jobs
LOCAL = "local:"  # how ids of jobs begin that run here without Slurm; the controller's pid follows
# Slurm keeps these for a job that may still run, or run again.
ACTIVE = (
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT",
    "RESIZING", "STAGE_OUT",
)  # fmt: skip
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")  # of these, the ones that do not run
_ANOTHERS = (
    "SLURM_", "SLURMD_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SACCTMGR_", "SINFO_", "SCONTROL_", "SCANCEL_",
)  # fmt: skip
_MEMORY = {"mem": "MEM_PER_NODE", "mem-per-cpu": "MEM_PER_CPU", "mem-per-gpu": "MEM_PER_GPU"}  # at most one of them
_ODD = {"time": "TIMELIMIT", "mem": "MEM_PER_NODE"}  # options whose variable has another name
_SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i|%K|%T|%N|%r|%k|%o")  # array elements one by one


@dataclass(frozen=True)
class Job:
    """A job, or one element of an array."""

    id: str  # "123" or "123_4"
    state: str  # Slurm's word, without what follows it: PENDING, RUNNING, COMPLETING, …
    index: int = 0  # in its array; 0 for a job that is none
    nodes: str = ""
    reason: str = ""  # why it waits
    comment: str = ""
    script: str = ""  # the file that sbatch was given

    @property
    def submission(self) -> str:
        """The id that the launcher left in the comment, beside what a person or a site has there; "" if it left none,
        or a comment of the environment took its place."""
        found = re.findall(rf"(?:^|\s){COMMENT}(\S+)", self.comment)
        return str(found[-1]) if found else ""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def waits(self) -> bool:
        return self.state in WAITING


def run(
    command: Sequence[str | Path], patience: float = PATIENCE, keep_open: Sequence[int] = (),
    script_sets: Sequence[str] = (),
) -> str:  # fmt: skip
    """What one of Slurm's commands says. It inherits the descriptors `keep_open`, and no variable that would overrule
    the options `script_sets` of a batch script. Raises SlurmError."""
    name = str(command[0])
    if shutil.which(name) is None:
        raise SlurmError(
            f"no Slurm on this machine: there is no {name}. Log in to a machine of the cluster, or train here: "
            "cluster=none for one run, cluster=local for several"
        )
    try:
        done = _start(command, patience, keep_open, script_sets)
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"Slurm did not answer within {patience:g} s ({name}); nothing was lost: wait a little and type the same "
            "command again (scontrol ping shows whether the controller is up)"
        ) from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-800:]
        raise SlurmError(f"{name} failed: {said or f'exit status {done.returncode}'}")
    return done.stdout


def _start(
    command: Sequence[str | Path], patience: float, keep_open: Sequence[int] = (), script_sets: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        timeout=patience, pass_fds=keep_open, env=environment(script_sets=script_sets), check=False,
    )  # fmt: skip


def environment(environ: Mapping[str, str] = os.environ, script_sets: Sequence[str] = ()) -> dict[str, str]:
    """The environment without what a surrounding job says of itself, what shapes the answers of Slurm's commands, what
    takes a job out of our sight, and those SBATCH_ variables that would overrule an option in the script
    (`script_sets`, as sbatch spells them)."""
    overruled = {"NO_REQUEUE"} if "requeue" in script_sets else set()
    overruled |= set(_MEMORY.values()) if _MEMORY.keys() & set(script_sets) else set()
    overruled |= {_ODD.get(option, option.upper().replace("-", "_")) for option in script_sets}
    ours = {f"SBATCH_{name}" for name in (*overruled, "ARRAY_INX", "CLUSTERS", "WAIT")}
    return {
        name: value
        for name, value in environ.items()
        if (not name.startswith(_ANOTHERS) or name == "SLURM_CONF") and name not in ours
    }


def my_jobs() -> list[Job]:
    """This user's jobs that are waiting, running or ending. Raises SlurmError."""
    return _jobs(run(_SQUEUE))


def ask(jobs: Collection[str]) -> tuple[dict[str, Job], str]:
    """Jobs by id, by one squeue and by one sacct for those it has forgotten; and what failed, or ''. Never raises."""
    jobs = [job for job in jobs if not job.startswith(LOCAL)]
    if not jobs:
        return {}, ""
    if shutil.which("squeue") is None:
        return {}, "squeue is not on the PATH here: states are from the run folders alone"
    text, trouble = _heard([*_SQUEUE, "--states=all"])
    found = {job.id: job for job in _jobs(text)}
    unknown = sorted({job.split("_")[0] for job in jobs if job not in found})
    if unknown and shutil.which("sacct") is not None:
        text, _ = _heard(["sacct", "-n", "-P", "-X", "-D", "-j", ",".join(unknown), "-o", "JobID,State,NodeList"])
        parts = [(line.split("|") + [""] * 2)[:3] for line in text.splitlines()]  # of a requeued job, the last counts
        found = {job: Job(job, state.split(" ")[0], nodes=nodes) for job, state, nodes in parts} | found
    return {job: found[job] for job in jobs if job in found}, trouble


def _heard(command: Sequence[str]) -> tuple[str, str]:
    """What a command says, or why it says nothing."""
    name = command[0]
    try:
        done = _start(command, LOOK)
    except subprocess.TimeoutExpired:
        return "", f"{name} gave no answer within {LOOK} s: states are from the run folders; ask again later"
    except OSError as error:
        return "", f"{name} can't be started: {error}"
    if done.returncode != 0:
        return "", f"{name} failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    return done.stdout, ""


def _jobs(text: str) -> list[Job]:
    """What squeue said; a line that is none of its own is passed over."""
    rows = [[part.strip() for part in line.split("|", 5)] for line in text.splitlines() if line.count("|") >= 6]
    jobs = []
    for id, index, state, nodes, reason, rest in rows:
        comment, _, script = rest.rpartition("|")
        why = "" if reason == "None" else reason
        jobs.append(Job(id, state, int(index) if index.isdecimal() else 0, nodes, why, comment, script))
    return jobs


def largest_array() -> int:
    """How many elements an array may have here: Slurm's limit is one for their index as well."""
    return max(1, int(config().get("MaxArraySize", 1001)))


def config(patience: float = PATIENCE) -> dict[str, str]:
    """What `scontrol show config` says, by name. Raises SlurmError."""
    return dict(re.findall(r"^(\w+)\s*= ?(.*?) *$", run(["scontrol", "show", "config"], patience), re.MULTILINE))


def record(job: str, patience: float = LOOK) -> dict[str, str]:
    """What `scontrol show job` says, by field. Raises SlurmError."""
    return _fields(run(["scontrol", "--oneliner", "show", "job", job], patience).partition("\n")[0])


def partitions(names: str | None, patience: float = PATIENCE) -> list[dict[str, str]]:
    """Some partitions, "a,b", or the default one, by field. Raises SlurmError, also for one that isn't there."""
    lines = run(["scontrol", "--oneliner", "show", "partition"], patience).splitlines()
    there = {found["PartitionName"]: found for line in lines if "PartitionName" in (found := _fields(line))}
    if names is None:
        return [found for found in there.values() if found.get("Default") == "YES"]
    for name in names.split(","):
        if name not in there:
            raise SlurmError(f"there is no partition {name}; there are {', '.join(there)}")
    return [there[name] for name in names.split(",")]


def grace(partition: Mapping[str, str], config: Mapping[str, str]) -> tuple[str, float, float]:
    """What becomes of preempted jobs of a partition; seconds from the first signal to the last TERM, and on to KILL."""
    mode = partition.get("PreemptMode", "OFF").replace("GANG,", "").replace(",GANG", "")
    return mode, duration(partition.get("GraceTime", "0")), duration(config.get("KillWait", "30"))


def duration(text: str) -> float:
    """Seconds, from Slurm's "30 sec", "30", "00:00:30" or "1-00:00:00"."""
    days, _, clock = text.partition(" ")[0].rpartition("-")
    total = 0
    for part in clock.split(":"):
        total = 60 * total + (int(part) if part.isdecimal() else 0)
    return float(total + (86400 * int(days) if days.isdecimal() else 0))


def _fields(line: str) -> dict[str, str]:
    """A line of `scontrol --oneliner show`, by field."""
    return dict(re.findall(r"(?:^|(?<= ))([A-Z][\w:/]*)=(.*?) *(?= [A-Z][\w:/]*=|$)", line))
