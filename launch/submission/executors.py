"""submitit's two executors, with our batch script in one and our code snapshot in both."""

from __future__ import annotations

import pkgutil
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError
from submitit.local.local import LocalJob
from submitit.slurm.slurm import SlurmJob

from launch import slurm
from launch.errors import SlurmError
from launch.settings import seconds
from launch.submission.sbatch import Script
from launch.sweep import snapshot
from launch.sweep.paths import Submission

_WEEK = 7 * 86400  # seconds, for a run here whose cluster.time says nothing


class Call:
    """What submitit pickles: a call, once unpickled, of what the run's own code has at an address, "module:name"."""

    def __init__(self, address: str, *arguments: str) -> None:
        self.address, self.arguments = address, arguments

    def __call__(self, *arguments: str) -> None:
        raise NotImplementedError(self.__doc__)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Call(self.address), self.arguments) if self.arguments else (pkgutil.resolve_name, (self.address,))


class SlurmExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
    """submitit's Slurm executor with our batch script: one for a run, one for an array. submitit keeps its pickles and
    job objects; what a task runs is found in a list that is complete before sbatch is called, while a pickle gets its
    name only after it."""

    def __init__(self, script: Script, submission: Submission, runs: Sequence[Path], lock: int) -> None:
        super().__init__(folder=submission.path)
        self.script, self.submission, self.runs, self.lock = script, submission, runs, lock
        self._throttling = 0.0  # one call an array needs no pause

    def _internal_process_submissions(self, delayed_submissions: Any) -> list[SlurmJob[Any]]:  # noqa: ANN401 - no types
        pickles = [self.submission.path / f"{number}.pkl" for number in range(len(delayed_submissions))]
        for delayed, pickle in zip(delayed_submissions, pickles, strict=True):
            delayed.set_timeout(_WEEK // 60, self.max_num_timeout)
            delayed.dump(pickle)
        jobs = [SlurmJob(self.folder, name, tasks=[0]) for name in self._send()]
        for job, pickle in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(pickle, "submitted_pickle")
        return jobs

    def _send(self) -> list[str]:
        """Slurm's ids of the runs, in order. Raises SlurmError."""
        own, size, script = self.submission, len(self.runs), self.script
        own.script.write_text(script.for_array(own, size) if size > 1 else script.for_run(self.runs[0], own.id))
        # sbatch keeps the sweep's lock open: should we be killed now, the next launcher waits until Slurm has decided.
        said = slurm.run(["sbatch", own.script], keep_open=[self.lock], script_sets=list(script.options("", "")))
        try:
            job = str(self._get_job_id_from_submission_command(said))
        except FailedSubmissionError as error:
            raise SlurmError(f"sbatch gave no job id: {said.strip()!r}") from error
        return [f"{job}_{index}" for index in range(size)] if size > 1 else [job]


def send_to_slurm(script: Script, submission: Submission, runs: Sequence[Path], lock: int) -> list[str]:
    """Slurm's ids of the runs, in order: of one by its own batch script, of several as an array. Raises SlurmError."""
    slurm.run(["sbatch", "--version"])  # says what to do where there is none
    calls = [Call(snapshot.layout(script.code).call, str(run)) for run in runs]
    executor = SlurmExecutor(script, submission, runs, lock)
    return [
        str(job.job_id) for job in (executor.submit_array(calls) if len(calls) > 1 else [executor.submit(calls[0])])
    ]


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
