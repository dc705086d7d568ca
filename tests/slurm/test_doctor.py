"""`python -m launch doctor` and `resume` on real clusters: what Slurm says of itself, what two probe jobs find out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from launch.submission.sbatch import Script

from .cluster import Cluster
from .runs import ROOT
from .test_looking import HOLD, ONE, launch, typist_on


def doctor(cluster: Cluster, folder: Path, *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status, and the findings by what they are about."""
    done = subprocess.run(
        [sys.executable, "-m", "launch", "doctor", "--json", *words], cwd=folder, text=True, capture_output=True,
        env=cluster.environment() | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, timeout=150, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("["), done.stderr
    return done.returncode, {finding["what"]: finding for finding in json.loads(done.stdout)}


def a_run(folder: Path, save_seconds: float, lead: int) -> Path:
    """A run in partition `low` whose newest attempt measured its saves."""
    from launch.settings import Cluster as Settings

    run = RunFolder.create(folder / "runs/measured/base-0bcdef01", Config())
    run.start_attempt(1, {}, None).write_status("stopped", 10, 100, save_seconds=save_seconds)
    script = Script(Settings(name="slurm", partition="low"), ROOT, "golang-measured", folder, lead)
    (run.path / "job.sbatch").write_text(script.for_run(run.path, "s"))
    return run.path


def test_what_slurm_says_of_itself(cluster: Cluster, tmp_path: Path) -> None:
    status, found = doctor(cluster, tmp_path)
    assert status == 0
    assert "the controller answers" in found["slurm"]["said"]
    assert found["preemption in low"]["said"].startswith("PreemptMode=REQUEUE, GraceTime=10 s")
    assert found["requeue"]["level"] == found["arrays"]["level"] == found["run folder"]["level"] == "ok"
    assert "10001" in found["arrays"]["said"] and "5 s" in found["KillWait"]["said"]
    assert "not set" in found["preempt_send_user_signal"]["said"]
    assert "GiB free" in found["room"]["said"] and "not measured yet" in found["save time"]["said"]
    _, found = doctor(cluster, tmp_path, "--partition=high")
    assert found["preemption in high"]["said"].startswith("never")
    status, found = doctor(cluster, tmp_path, "--partition=gone")
    assert status == 1 and "there are low, high" in found["partition"]["said"]


def test_saves_that_do_not_fit(cluster: Cluster, tmp_path: Path) -> None:
    a_run(tmp_path, save_seconds=40, lead=30)
    status, found = doctor(cluster, tmp_path, "measured")
    assert status == 1
    assert found["save time"]["level"] == "fail" and "cluster.lead=220" in found["save time"]["remedy"]
    assert found["preemption in low"]["level"] == "warn" and "GraceTime=90" in found["preemption in low"]["remedy"]


def test_other_sites(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, grace=0, preempt_send_user_signal=True, requeue_allowed=False, max_array_size=1)
    status, found = doctor(cluster, tmp_path)
    assert status == 0 and found["arrays"]["level"] == "warn"
    assert found["preemption in low"]["level"] == "warn" and "GraceTime=30" in found["preemption in low"]["remedy"]
    assert found["requeue"]["level"] == "warn" and "--probe" in found["requeue"]["remedy"]
    assert found["preempt_send_user_signal"]["said"].startswith("set")


@pytest.mark.long
def test_the_probe(cluster: Cluster, tmp_path: Path) -> None:
    """Two real jobs: signals reach their tasks, a task requeues itself, a lock that is held here is held there, and
    nothing of them is left."""
    run = a_run(tmp_path, save_seconds=1, lead=120)
    before = sorted(path.name for path in run.iterdir())
    status, found = doctor(cluster, tmp_path, str(run), "--probe")
    assert status == 0, found
    assert "s before the time limit; 20 s were asked for" in found["time limit"]["said"]
    assert "TERM reached a task" in found["scancel"]["said"]
    assert "a task put its job back" in found["requeue from a task"]["said"]
    assert found["folder on nodes"]["said"].startswith(tuple(cluster.config.names))
    assert found["locks on nodes"]["said"].endswith("sees that this machine holds a lock")
    assert "saw a new file, and this machine its answer, after" in found["files on nodes"]["said"]
    assert sorted(path.name for path in run.iterdir()) == before
    assert cluster.run("squeue", "--noheader").stdout == ""


def test_resume_types_the_command_again(cluster: Cluster, tmp_path: Path) -> None:
    """Two runs that were cancelled while they waited come back; then there is nothing to do."""
    typist = typist_on(cluster, tmp_path)
    for run in typist.submit(*ONE, HOLD, "seed=31,32", sweep="again"):
        cluster.run("scancel", run.job)
    said = []
    for _ in range(2):
        done = launch(typist, "resume", "again")
        assert done.returncode == 0 and done.stdout.startswith(f"cd {tmp_path} && python {ROOT}/run.py "), done.stderr
        said.append(done.stdout)
    assert "2 submitted" in said[0] and "2 stuck" in said[1], said
    cluster.reset()
