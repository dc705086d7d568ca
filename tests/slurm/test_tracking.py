"""Tracking on a real Slurm: a run that is preempted and comes back is one run for W&B, each step once, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from golang.data.toy.write import write
from golang.runfolder.metrics import read_metrics
from tests.resume.harness import TOTAL, settings
from tests.tracking import records

from .cluster import Cluster
from .conftest import _running
from .release import restarts_after_grace
from .runs import NODES, ROOT, Typist, flat, preempt


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with _running(request, nodes=NODES, cpus=1, kill_wait=10) as cluster:
        yield cluster


def test_a_preempted_run_is_one_run(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "toy"
    config = settings(root, log_every_steps=1, data={"workers": 0}, checkpoint={"every_steps": 3})
    write(root, config.data.toy, workers=1)
    typist = Typist(cluster, tmp_path, flat(config.to_dict()))
    # No key, and if there were one, nothing to reach: a compute node never asks, and goes on offline.
    alone = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = typist.type(
        "cluster.partition=low", "cluster.tasks_per_node=1", "tracking=wandb", "sweep=tracked", environment=alone
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = typist.runs("tracked")
    ticket = json.loads((run.path / "wandb/run.json").read_text())
    assert ticket["logged"] == 0, "the id is drawn at submit"
    run.hold_at(4, tasks=NODES)
    run.wait(lambda run: records.files(run.path), 30, "tracked")  # the mirror is not held
    preempt(cluster, run)
    run.wait(lambda run: run.record()["JobState"] == "COMPLETED", 300, "completed, its last points written")
    assert len(run.attempts) == 2 and run.record()["Restarts"] in restarts_after_grace()

    steps = list(range(1, TOTAL + 1))
    assert [line["step"] for line in read_metrics(run.path / "metrics.jsonl")] == steps
    written = records.files(run.path)
    assert [row["step"] for path in written for row in records.history(path)] == steps
    command = [sys.executable, "-m", "launch", "sync", "tracked"]
    for _ in range(2):
        done = subprocess.run(command, **typist.options(alone | {"PYTHONPATH": str(ROOT)}), check=False)
        assert done.returncode == 0 and "wandb sync " in done.stdout, done.stdout + done.stderr
        (clean,) = records.files(run.path / "wandb/clean-pretrain")
        assert [row["step"] for row in records.history(clean)] == steps
    assert {records.run(path).run_id for path in (*written, clean)} == {ticket["id"]}
    assert records.run(clean).run_group == "tracked"
    assert "no key for W&B" in run.text()
