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
from launch.sweep import here, snapshot
from launch.sweep.folder import Submission

_WEEK = 7 * 86400  # seconds, for a run here whose cluster.time says nothing


class Call:
    """What submitit pickles: a run's folder, and what the run's own code calls with it, which need not be there now."""

    def __init__(self, script: Script, run: Path) -> None:
        self.call, self.run = _Named(snapshot.layout(script.code).call), str(run)

    def __call__(self) -> None:
        raise NotImplementedError("it is called where it is unpickled")

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, (self.run,)


class _Named:
    """Unpickled, it is the object of that address, "module:name"."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, run: str) -> None:
        raise NotImplementedError("it is called where it is unpickled")

    def __reduce__(self) -> tuple[Any, ...]:
        return pkgutil.resolve_name, (self.address,)


class RunExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
    """Sends runs under our batch script. submitit keeps its pickles and job objects; what a task runs is
    `launch.node.entry RUN_DIR`, found in a list that is complete before sbatch is called, while a pickle gets its name
    only after it."""

    def __init__(self, script: Script, submission: Submission, runs: Sequence[Path], lock: int) -> None:
        super().__init__(folder=submission.path)
        self.script, self.submission, self.runs, self.lock = script, submission, runs, lock
        self._throttling = 0.0  # one call an array needs no pause

    def _internal_process_submissions(self, delayed_submissions: Any) -> list[Any]:  # noqa: ANN401 - submitit's types
        pickles = []
        for number, delayed in enumerate(delayed_submissions):
            delayed.set_timeout(_WEEK // 60, self.max_num_timeout)
            pickles.append(self.folder / f"{number}.pkl")
            delayed.dump(pickles[-1])
        identifier = self._send(len(pickles))
        names = [f"{identifier}_{i}" for i in range(len(pickles))] if len(pickles) > 1 else [identifier]
        jobs = [SlurmJob(folder=self.folder, job_id=name, tasks=[0]) for name in names]
        for job, pickle in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(pickle, "submitted_pickle")
        return jobs

    def _send(self, size: int) -> str:
        if size > 1:
            text = self.script.for_array(self.submission, size)
        else:
            text = self.script.for_run(self.runs[0], self.submission.id)
        file, options = self.submission.script, list(self.script.options("", ""))
        file.write_text(text)
        # sbatch keeps the sweep's lock open: should we be killed now, the next launcher waits until Slurm has decided.
        said = slurm.run(["sbatch", file], keep_open=[self.lock], script_sets=options)
        try:
            return str(self._get_job_id_from_submission_command(said))
        except FailedSubmissionError as error:
            raise SlurmError(f"sbatch gave no job id: {said.strip()!r}") from error


def send_to_slurm(script: Script, submission: Submission, runs: Sequence[Path], lock: int) -> list[str]:
    """Slurm's ids of the runs, in order. Raises SlurmError."""
    slurm.run(["sbatch", "--version"])  # says what to do where there is none
    executor, calls = RunExecutor(script, submission, runs, lock), [Call(script, run) for run in runs]
    jobs = executor.submit_array(calls) if len(calls) > 1 else [executor.submit(calls[0])]
    return [str(job.job_id) for job in jobs]


class HereExecutor(submitit.LocalExecutor):  # type: ignore[misc]
    """submitit's local executor with a controller that outlives this terminal, and tasks that start by our script."""

    def __init__(self, folder: Path, script: Script, name: str) -> None:
        super().__init__(folder=folder)
        self.script, self.name = script, name

    @property
    def _submitit_command_str(self) -> str:
        file = self.folder / "job.sh"
        file.write_text(self.script.here(self.folder, self.name))
        return shlex.join(["/bin/bash", str(file)])

    def _num_tasks(self) -> int:
        return self.script.cluster.tasks

    def _submit_command(self, command: str) -> LocalJob[Any]:
        cluster = self.script.cluster
        limit = seconds(cluster.time) if cluster.time else _WEEK
        told = {
            "SUBMITIT_LOCAL_NTASKS": str(cluster.tasks),
            "SUBMITIT_LOCAL_COMMAND": command,
            "SUBMITIT_LOCAL_TIMEOUT_S": str(limit),
            "SUBMITIT_LOCAL_SIGNAL_DELAY_S": str(self.script.lead),
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_STDERR_TO_STDOUT": "1",
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_WITH_SHELL": "",
            "PYTHONSAFEPATH": "1",  # no modules that lie where the command is typed; since Python 3.11
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "submitit.local._local", str(self.folder)],
            env=slurm.environment() | told,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        tasks = list(range(cluster.tasks))
        return LocalJob(folder=self.folder, job_id=str(process.pid), process=process, tasks=tasks)


def send_here(script: Script, submission: Submission, runs: Sequence[Path], lock: int) -> list[str]:
    """Starts the runs on this machine; the name of each one's controller."""
    jobs = []
    for number, run in enumerate(runs):
        executor = HereExecutor(submission.of_run(number), script, f"{submission.id}.{number}")
        jobs.append(here.name(executor.submit(Call(script, run)).job_id))
    return jobs
