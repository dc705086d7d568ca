"""`python -m launch status|logs|cancel` on a real cluster, with accounting and without; and a quota that refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from golang.data.toy.write import write
from tests.resume.harness import settings

from .cluster import Cluster
from .processes import wait_for
from .runs import ROOT, Seen, Typist, flat

ONE = ("cluster.nodes=1", "cluster.tasks_per_node=1")
HOLD = "cluster.extra={hold: true}"


def typist_on(cluster: Cluster, folder: Path, **changes: Any) -> Typist:
    config = settings(folder / "toy", data={"workers": 0}, log_every_steps=1, **changes)
    write(folder / "toy", config.data.toy, workers=1)
    return Typist(cluster, folder, flat(config.to_dict()))


@pytest.fixture(params=["without accounting", "with accounting"])
def typist(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Typist]:
    cluster = request.getfixturevalue("accounting_cluster" if request.param.startswith("with ") else "cluster")
    yield typist_on(cluster, tmp_path)
    cluster.reset()


def launch(typist: Typist, *words: str) -> subprocess.CompletedProcess[str]:
    environment = typist.cluster.environment() | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "launch", *words], cwd=typist.folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def states(typist: Typist, target: str) -> dict[str, dict[str, Any]]:
    """What `status --json` says, by job."""
    done = launch(typist, "status", target, "--json")
    assert done.returncode == 0, done.stderr
    return {line["job"]: line for line in json.loads(done.stdout)}


def test_status_logs_and_cancel(typist: Typist) -> None:
    """Five ways a run can stand, in one sweep."""
    (ends,) = typist.submit(*ONE, sweep="mixed")
    (runs,) = typist.submit(*ONE, "optim.epochs=1000", sweep="mixed")[-1:]
    waits, gone = typist.submit(*ONE, HOLD, "name=waits,gone", sweep="mixed")[-2:]
    (fails,) = typist.submit(*ONE, "cluster.env.OMP_NUM_THREADS=none", "cluster.python=false", "name=fails",
                             "cluster.max_retries=0", sweep="mixed")[-1:]  # fmt: skip
    typist.cluster.run("scancel", gone.job)
    runs.hold_at(1, tasks=1)
    ends.wait_done()
    fails.wait(lambda run: "failed" in run.words(), 60, "failed")
    wait_for(lambda: typist.cluster.job(ends.job)["JobState"] == "COMPLETED", 20, "the end in Slurm's eyes")

    found = states(typist, "mixed")
    assert {job: line["state"] for job, line in found.items()} == {
        ends.job: "finished", runs.job: "running", waits.job: "stuck", gone.job: "gone", fails.job: "failed",
    }  # fmt: skip
    assert found[ends.job]["step"] == found[ends.job]["total"] == 20
    assert found[runs.job]["node"] in typist.cluster.config.names and found[runs.job]["attempts"] == 1
    table = launch(typist, "status", "mixed").stdout
    assert "1 finished" in table and "JobHeldUser" in table

    said = launch(typist, "logs", ends.job)
    assert "finished: 20 steps" in said.stdout, said.stderr
    assert "has not started yet" in launch(typist, "logs", waits.job).stderr

    asked = launch(typist, "cancel", "mixed")
    assert asked.returncode == 1 and "cancel these 2 runs?" in asked.stdout and waits.job in asked.stdout
    done = launch(typist, "cancel", "mixed", "--yes")
    assert done.returncode == 0 and "cancelled 2" in done.stdout, done.stderr
    runs.signal(signal.SIGCONT)
    typist.cluster.wait_job(runs.job, "CANCELLED")
    found = states(typist, "mixed")
    assert found[runs.job]["state"] == found[waits.job]["state"] == "cancelled"


def test_status_of_a_job_that_slurm_forgot(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    """Slurm's queue forgets a job after a while; sacct still knows."""
    cluster = make_cluster(nodes=1, accounting=True, extra=("MinJobAge=2",))
    typist = typist_on(cluster, tmp_path)
    (run,) = typist.submit(*ONE, HOLD, sweep="old")
    cluster.run("scancel", run.job)
    wait_for(lambda: _forgotten(cluster, run), 60, "forgotten", every=0.5)
    sacct = ("sacct", "-n", "-X", "-j", run.job, "-o", "State")
    wait_for(lambda: "CANCELLED" in cluster.run(*sacct).stdout, 20, "in sacct")
    assert states(typist, "old")[run.job]["state"] == "cancelled"


def _forgotten(cluster: Cluster, run: Seen) -> bool:
    return "Invalid job id" in cluster.run("scontrol", "show", "job", run.job, check=False).stderr


def test_a_quota_that_refuses(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, accounting=True)
    for words in (
        "add account lab", "add user root account=lab", "modify user root set MaxSubmitJobs=1",
    ):  # fmt: skip
        cluster.run("sacctmgr", "--immediate", *words.split(), check=False)
    conf = cluster.folder / "etc" / "slurm.conf"
    conf.write_text(conf.read_text() + "AccountingStorageEnforce=limits\n")
    cluster.restart_controller()
    typist = typist_on(cluster, tmp_path)
    typist.submit(*ONE, HOLD, sweep="first")
    refused = typist.type(*ONE, HOLD, "seed=1,2", "sweep=second")
    said = refused.stdout + refused.stderr
    assert refused.returncode == 69 and len(said.strip().splitlines()) <= 2, said
    assert re.search("limit.*sacctmgr show assoc.*2 of the sweep's runs are frozen.*type the same command again", said)
    typist.cluster.run("scancel", "--user=root")
    assert "1 submitted" in typist.type(*ONE, HOLD, "seed=1", "sweep=second").stdout

    for words in ("MaxSubmitJobs=-1", "GrpTRES=cpu=1"):
        cluster.run("sacctmgr", "--immediate", "modify", "user", "root", "set", words)
    (above,) = typist.submit("cluster.nodes=1", "cluster.tasks_per_node=2", sweep="third")
    wait_for(lambda: cluster.job(above.job)["Reason"] == "AssocGrpCpuLimit", 20, "above the limit")
    line = states(typist, "third")[above.job]
    assert line["state"] == "stuck" and "asks for cpu=2, and your part of account root has 1" in line["last"], line
