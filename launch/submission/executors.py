"""How runs are handed over: to Slurm by sbatch, here to submitit's local executor; with our scripts and a snapshot."""

from __future__ import annotations

import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.local.local import LocalJob

from launch import slurm
from launch.errors import SlurmError
from launch.settings import seconds
from launch.submission.sbatch import Script
from launch.sweep import snapshot
from launch.sweep.folder import Submission

_WEEK = 7 * 86400  # seconds, for a run here whose cluster.time says nothing


def send_to_slurm(script: Script, submission: Submission, runs: Sequence[Path], lock: int) -> list[str]:
    """Slurm's ids of the runs, in order: of one by its own batch script, of several as an array. Raises SlurmError."""
    slurm.run(["sbatch", "--version"])  # says what to do where there is none
    size, file = len(runs), submission.script
    file.write_text(script.for_array(submission, size) if size > 1 else script.for_run(runs[0], submission.id))
    # sbatch keeps the sweep's lock open: should we be killed now, the next launcher waits until Slurm has decided.
    said = slurm.run(["sbatch", file], keep_open=[lock], script_sets=list(script.options("", "")))
    found = re.search(r"job (\d+)", said)
    if found is None:
        raise SlurmError(f"sbatch gave no job id: {said.strip()!r}")
    return [f"{found[1]}_{index}" for index in range(size)] if size > 1 else [found[1]]


class Call:
    """What submitit pickles: a call, once unpickled, of what the run's own code has at an address, "module:name"."""

    def __init__(self, address: str, *arguments: str) -> None:
        self.address, self.arguments = address, arguments

    def __call__(self, *arguments: str) -> None:
        raise NotImplementedError(self.__doc__)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Call(self.address), self.arguments) if self.arguments else (pkgutil.resolve_name, (self.address,))


class HereExecutor(submitit.LocalExecutor):  # type: ignore[misc]
    """submitit's local executor with a controller that outlives this terminal, and tasks that start by our script."""

    def __init__(self, own: Submission, script: Script, submission: str) -> None:
        super().__init__(folder=own.path)
        self.file, self.script, self.submission = own.task_script, script, submission

    @property
    def _submitit_command_str(self) -> str:
        self.file.write_text(self.script.here(self.folder, self.submission))
        return shlex.join(["/bin/bash", str(self.file)])

    def _num_tasks(self) -> int:
        return self.script.cluster.tasks

    def _submit_command(self, command: str) -> LocalJob[Any]:
        cluster = self.script.cluster
        told = {
            "SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_COMMAND": command, "SUBMITIT_LOCAL_WITH_SHELL": "",
            "SUBMITIT_LOCAL_NTASKS": str(cluster.tasks), "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_LOCAL_TIMEOUT_S": str(seconds(cluster.time) if cluster.time else _WEEK),
            "SUBMITIT_LOCAL_SIGNAL_DELAY_S": str(self.script.lead), "SUBMITIT_STDERR_TO_STDOUT": "1",
            "PYTHONSAFEPATH": "1",  # no modules that lie where the command is typed; since Python 3.11
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "submitit.local._local", str(self.folder)],
            env=slurm.environment() | told,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        return LocalJob(self.folder, str(process.pid), list(range(cluster.tasks)), process=process)


def send_here(script: Script, submission: Submission, runs: Sequence[Path], lock: int) -> list[str]:
    """Starts the runs on this machine; the name of each one's controller."""
    jobs, address = [], snapshot.layout(script.code).call
    for number, run in enumerate(runs):
        executor = HereExecutor(submission.of_run(number), script, f"{submission.id}.{number}")
        jobs.append(f"{slurm.LOCAL}{executor.submit(Call(address, str(run))).job_id}")
    return jobs
