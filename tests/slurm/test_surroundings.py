"""Runs on a real Slurm whose users and sites export what they like, and that are sent from inside other jobs."""

from __future__ import annotations

import subprocess

import pytest

from .runs import HOLD, Typist, queue, said

SMALL = ("cluster.nodes=1", "cluster.tasks_per_node=2", "optim.epochs=1")
LEFT = {
    "SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0", "SLURM_MEM_PER_CPU": "50",
    "SLURM_CPUS_PER_TASK": "1", "SLURM_NTASKS": "1", "SLURM_NPROCS": "1", "SLURM_NNODES": "1",
    "SLURM_NTASKS_PER_NODE": "1", "SLURM_GPUS_PER_TASK": "1", "SLURM_CPU_BIND": "quiet,none", "SLURM_TIMELIMIT": "0:01",
    "SLURM_RESTART_COUNT": "2", "SLURM_EXPORT_ENV": "NONE", "SRUN_EXPORT_ENV": "NONE", "SLURM_LABELIO": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "exported"),
    [
        ([], {"SBATCH_EXPORT": "NONE"}),
        (["cluster.extra.export=NONE"], {}),
        (["cluster.extra.export=NIL"], {}),
        (['cluster.setup=["export SLURM_EXPORT_ENV=NONE SRUN_EXPORT_ENV=NONE"]'], LEFT),
    ],
    ids=["SBATCH_EXPORT", "NONE", "NIL", "setup"],
)
def test_tasks_see_what_the_batch_script_sets(typist: Typist, overrides: list[str], exported: dict[str, str]) -> None:
    """Without it, they would know neither where the code lies nor their settings."""
    conf = f"cluster.env.SLURM_CONF={typist.cluster.environment()['SLURM_CONF']}"  # here it is in no usual place
    done = typist.type(*SMALL, *overrides, conf, "sweep=seen", environment=exported)
    assert done.returncode == 0, said(done)
    (run,) = typist.runs("seen")
    run.wait_done()
    assert run.words().count("attempt") == 1


def test_job_sbatch_runs_from_inside_another_job(typist: Typist) -> None:
    (run,) = typist.submit(*SMALL, "cluster.mem=200M", HOLD, sweep="inside")
    typist.cluster.run("scancel", run.job)
    script = (run.path / "job.sbatch").read_text().replace("#SBATCH --hold\n", "")
    (run.path / "job.sbatch").write_text(script)
    done = subprocess.run(["sbatch", run.path / "job.sbatch"], **typist.options(LEFT), check=False)
    assert done.returncode == 0, said(done)
    run.wait_done()
    (attempt,) = (line for line in run.events() if line["event"] == "attempt")
    assert "_" not in attempt["job"] and attempt["restarts"] == 0


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        pytest.param(["--signal=HUP"], "session lost", marks=pytest.mark.long),
        pytest.param(["--full", "--signal=USR1"], "time limit", marks=pytest.mark.long),
        pytest.param(["--batch", "--signal=USR1"], "time limit", marks=pytest.mark.long),
    ],
)
def test_a_signal_to_all_tasks(typist: Typist, words: list[str], cause: str) -> None:
    """With --full the batch script gets it as well, with --batch it alone. The tasks save, and the run comes back."""
    (run,) = typist.submit("cluster.nodes=1", "optim.epochs=40", sweep="signalled")
    run.wait_step(4)
    typist.cluster.run("scancel", *words, run.job)
    run.wait_done()
    assert run.causes() == [cause] and sum(run.repeated()) == 0


def test_exported_filters_submit_nothing_twice_and_hide_nothing_from_cancel(typist: Typist) -> None:
    exported = {"SQUEUE_STATES": "RUNNING", "SLURM_TIME_FORMAT": "relative", "SQUEUE_USERS": "nobody"}
    typist.submit(HOLD, sweep="filtered")
    again = typist.type(HOLD, "sweep=filtered", environment=exported)
    assert "1 stuck" in again.stdout and len(queue(typist.cluster)) == 1, said(again)
    command = [typist.python, "-m", "launch", "cancel", "runs/filtered", "--yes"]
    options = typist.options(exported | {"PYTHONPATH": str(typist.root)})
    cancelled = subprocess.run(command, **options, check=False)
    assert "cancelled 1" in cancelled.stdout and queue(typist.cluster) == [], said(cancelled)
