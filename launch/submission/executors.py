"""submitit's two executors, with our batch script in one and our code snapshot in both."""

from __future__ import annotations

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
from launch.node.entry import Run
from launch.settings import seconds
from launch.slurm import Job
from launch.submission.sbatch import Script

_WEEK = 7 * 86400  # seconds, for a run here whose cluster.time says nothing


class RunExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
    """Sends runs under our batch script. submitit keeps its pickles and job objects; what a task runs is
    `launch.node.entry RUN_DIR`, found in a list that is complete before sbatch is called, while a pickle gets its name
    only after it."""

    def __init__(self, script: Script, folder: Path, submission: str, runs: Sequence[Path], lock: int) -> None:
        super().__init__(folder=folder)
        self.script, self.submission, self.runs, self.lock = script, submission, runs, lock
        self._throttling = 0.0  # one call an array needs no pause

    def submit_runs(self) -> list[str]:
        """Slurm's ids of the runs, in order. Raises SlurmError."""
        calls = [Run(str(run)) for run in self.runs]
        jobs = self.submit_array(calls) if len(calls) > 1 else [self.submit(calls[0])]
        return [str(job.job_id) for job in jobs]

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
            text = self.script.for_array(self.folder, self.submission, size)
        else:
            text = self.script.for_run(self.runs[0], self.submission)
        file = self.folder / "job.sbatch"
        file.write_text(text)
        # sbatch keeps the sweep's lock open: should we be killed now, the next launcher waits until Slurm has decided.
        said = slurm.run(["sbatch", file], keep_open=[self.lock], script_sets=list(self.script.options("", "")))
        try:
            return str(self._get_job_id_from_submission_command(said))
        except FailedSubmissionError as error:
            raise SlurmError(f"sbatch gave no job id: {said.strip()!r}") from error


def send_to_slurm(script: Script, folder: Path, submission: str, runs: Sequence[Path], lock: int) -> list[str]:
    """Slurm's ids of the runs, in order. Raises SlurmError."""
    slurm.run(["sbatch", "--version"])  # says what to do where there is none
    return RunExecutor(script, folder, submission, runs, lock).submit_runs()


class HereExecutor(submitit.LocalExecutor):  # type: ignore[misc]
    """submitit's local executor with a controller that outlives this terminal, and tasks that start by our script."""

    def __init__(self, folder: Path, script: Script, submission: str) -> None:
        super().__init__(folder=folder)
        self.script, self.submission = script, submission

    @property
    def _submitit_command_str(self) -> str:
        file = self.folder / "job.sh"
        file.write_text(self.script.here(self.folder, self.submission))
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
        return LocalJob(
            folder=self.folder, job_id=str(process.pid), process=process, tasks=list(range(cluster.tasks))
        )  # fmt: skip


def send_here(script: Script, folder: Path, submission: str, runs: Sequence[Path], lock: int) -> list[str]:
    """Starts the runs on this machine; "local:PID" of each one's controller."""
    jobs = []
    for number, run in enumerate(runs):
        own = folder / str(number)
        jobs.append(HereExecutor(own, script, f"{submission}.{number}").submit(Run(str(run))))
    return [f"local:{job.job_id}" for job in jobs]


def live_here(sweep: Path) -> list[Job]:
    """The sweep's runs that are on this machine now, by their controllers."""
    jobs = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        folder = Path(words[3]) if words[1:3] == ["-m", "submitit.local._local"] and len(words) > 3 else None
        if folder is not None and folder.parent.parent == sweep / "submissions":
            jobs.append(Job(f"local:{process.name}", int(folder.name), "RUNNING", slurm.COMMENT + folder.parent.name))
    return jobs
