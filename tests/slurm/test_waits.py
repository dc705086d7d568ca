"""Jobs that a real Slurm lets wait for ever: what is said of them, and which come back by the same command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launch.__main__ import main
from launch.monitor.status import standings
from launch.sweep.find import find

from .cluster import Cluster
from .processes import wait_for
from .runs import Typist, queue, said
from .test_looking import ONE, launch, typist_on

IDLE = (*ONE, "cluster.setup=[sleep 1000]")  # a job that runs, and does not come to its tasks


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Typist], None]:
    """Goes where somebody types, and to their cluster."""

    def go(typist: Typist) -> None:
        monkeypatch.chdir(typist.folder)
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, typist.cluster.environment()[name])

    return go


def stuck(cluster: Cluster, job: str, reason: str) -> str:
    """What status says of the job once Slurm gives that reason: why, and what to type."""
    wait_for(lambda: cluster.job(job)["Reason"].replace("_", " ") == reason, 20, reason)
    (line,), trouble = standings(find(job, Path("runs")))
    assert not trouble and line.state == "stuck" and line.last.startswith(f"{reason}: "), line
    return line.last


def test_held(typist: Typist, at: Callable[[Typist], None], capsys: pytest.CaptureFixture[str]) -> None:
    """By Slurm after a requeue, by an administrator, by its owner."""
    at(typist)
    (run,) = typist.submit(*IDLE, sweep="held")
    typist.cluster.wait_job(run.job, "RUNNING")
    typist.cluster.run("scontrol", "requeuehold", run.job)
    typist.cluster.wait_job(run.job, "PENDING")
    assert f"scontrol release {run.job}" in stuck(typist.cluster, run.job, "job requeued in held state")
    assert run.record()["Priority"] == "0", "to look changes nothing"
    again = typist.type(*IDLE, "sweep=held")
    assert "1 waiting" in again.stdout and "(1 of 3)" in again.stdout, said(again)
    assert run.record()["Priority"] != "0" and run.events()[-1]["release"] == 1

    typist.cluster.run("scontrol", "update", f"JobId={run.job}", "StartTime=now+1hour")
    typist.cluster.run("scontrol", "hold", run.job)
    assert f"scontrol release {run.job}" in stuck(typist.cluster, run.job, "JobHeldAdmin")
    (line,), _ = standings(find("held", Path("runs")), releasing=True)
    assert line.state == "waiting" and "(2 of 3)" in line.last and run.record()["Priority"] != "0"

    typist.cluster.run("scontrol", "uhold", run.job)
    assert "held by its owner" in stuck(typist.cluster, run.job, "JobHeldUser")
    left = typist.type(*IDLE, "sweep=held")
    assert "1 stuck" in left.stdout and f"scontrol release {run.job}" in left.stdout, said(left)
    assert main(["watch", "held"]) == 0 and "1 stuck" in capsys.readouterr().out, "nor does watch wait for ever"
    assert run.record()["Priority"] == "0"
    assert main(["cancel", "held", "--yes"]) == 0 and queue(typist.cluster) == []


def test_what_there_is_not(typist: Typist, at: Callable[[Typist], None]) -> None:
    """A time limit that the partition no longer has, and a job to wait for that has failed."""
    at(typist)
    typist.cluster.run("scontrol", "update", "PartitionName=low", "MaxTime=5")
    try:
        (long,) = typist.submit(*IDLE, "cluster.time=10", sweep="long")
        assert f"python -m launch cancel {long.job}, then" in stuck(typist.cluster, long.job, "PartitionTimeLimit")
    finally:
        typist.cluster.run("scontrol", "update", "PartitionName=low", "MaxTime=INFINITE")
    failed = typist.cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=false").stdout.strip()
    typist.cluster.wait_job(failed, "FAILED")
    (after,) = typist.submit(*IDLE, f"cluster.dependency=afterok:{failed}", sweep="after")
    assert "cluster.dependency" in stuck(typist.cluster, after.job, "DependencyNeverSatisfied")
    again = typist.type(*IDLE, "sweep=after")
    assert "1 submitted" in again.stdout, said(again)
    typist.cluster.wait_job(after.job, "CANCELLED")


def test_a_node_that_starts_no_job(
    make_cluster: Callable[..., Cluster], tmp_path: Path, at: Callable[[Typist], None]
) -> None:
    prolog = tmp_path / "prolog"
    prolog.write_text(f"#!/bin/sh\n[ -e {tmp_path}/mended ]\n")
    prolog.chmod(0o755)
    cluster = make_cluster(nodes=2, extra=(f"Prolog={prolog}",))
    at(typist := typist_on(cluster, tmp_path))
    (run,) = typist.submit(*IDLE, sweep="launch")
    assert "same command again" in stuck(cluster, run.job, "launch failed requeued held")
    (tmp_path / "mended").touch()
    again = launch(typist, "resume", "launch")
    assert "1 waiting" in again.stdout, said(again)
    cluster.wait_job(run.job, "RUNNING")
