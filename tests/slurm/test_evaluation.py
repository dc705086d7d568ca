"""Evaluations as jobs: stopped and requeued they end with the same figures, behind a training they start once it has
ended well, and are cancelled when it has failed for good."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.config import Config
from golang.data.toy.write import write
from golang.method.trunk import build_trunk
from tests.resume.harness import launch, settings

from .conftest import _running
from .runs import NODES, TASKS, Typist, flat, preempt

ALONE = ("cluster.nodes=1", "cluster.tasks_per_node=1")
TOY = {"classes": 5, "size": 32, "train": 200, "val": 20, "seed": 1}  # 10 % of it: 20 images, 20 steps in 20 epochs


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("data") / "toy"
    found = settings(root, data={"workers": 0, "toy": TOY}, log_every_steps=1, optim={"epochs": 1}, precision="fp32")
    write(root, found.data.toy, workers=1)
    return found


@pytest.fixture(scope="module")
def typist(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, config: Config
) -> Iterator[Typist]:
    folder = tmp_path_factory.mktemp("typed")
    typed = [word for word in flat(config.to_dict()) if not word.startswith("evaluation.")]
    torch.manual_seed(0)
    torch.save(build_trunk("small").state_dict(), folder / "trunk.pt")
    with _running(request, nodes=2 * NODES, cpus=TASKS) as cluster:
        yield Typist(cluster, folder, typed)


def result(folder: Path, name: str) -> dict:
    found = json.loads((folder / "evaluation" / name / "result.json").read_text())
    for line in found.get("history", []):
        line.pop("seconds")
    return found


@pytest.mark.long
def test_a_preempted_evaluation_ends_with_the_same_figures(typist: Typist, config: Config, tmp_path: Path) -> None:
    asked = (
        "data=toy",
        "evaluation=semisup_coco_10",
        f"checkpoint={typist.folder / 'trunk.pt'}",
        "cluster.partition=low",
    )
    (run,) = typist.submit(*asked, sweep="evaluated")
    assert run.path.name.startswith("semisup_coco_10,trunk-")
    run.wait(lambda run: len(run.ranks()) == NODES * TASKS, 120, "started")
    run.wait(lambda run: (run.path / "attempts" / "00" / "status.json").exists(), 120, "at work")
    for pid in run.ranks().values():
        typist.cluster.run("kill", "-STOP", str(pid), check=False)
    preempt(typist.cluster, run)
    run.wait_done()
    assert len(run.attempts) == 2 and "requeued" in run.words()
    assert json.loads((run.attempts[0] / "cause.json").read_text())["cause"] == "preempted"
    assert "Traceback" not in run.text()
    whole = Config.from_dict(json.loads((run.path / "config.yaml").read_text()))
    assert launch(replace(whole, sweep="x"), tmp_path / "run", ranks=NODES * TASKS) == [0] * NODES * TASKS
    assert result(run.path, "semisup_coco_10") == result(tmp_path / "run", "semisup_coco_10")
    (again,) = typist.submit(*asked, sweep="evaluated")
    assert again.job == run.job, "finished, left alone"


def test_evaluations_follow_their_runs(typist: Typist) -> None:
    """Two runs of one array, preempted or not, and two evaluations of each: element by element."""
    runs = typist.submit(
        *ALONE, "name=one,two", "evaluation=[semisup_coco_10,knn]", "cluster.partition=low", "optim.epochs=12",
        sweep="behind",
    )  # fmt: skip
    assert len(runs) == 6
    trained, waiting = runs[:2], runs[2:]
    array = trained[0].job.partition("_")[0]
    for run in waiting:
        record = run.record()
        assert record["JobState"] == "PENDING" and f"{array}_" in record["Dependency"], record
    trained[0].hold_at(1, tasks=1)
    preempt(typist.cluster, trained[0])
    for run in runs:
        run.wait_done()
    assert len(trained[0].attempts) == 2
    for run in trained:
        ended = (run.path / "DONE").stat().st_mtime
        assert {path.parent.name for path in run.path.glob("evaluation/*/result.json")} == {"semisup_coco_10", "knn"}
        for path in run.path.glob("evaluation/*/result.json"):
            assert path.stat().st_mtime > ended
            assert json.loads(path.read_text())["checkpoint"].startswith(str(run.path))
    said = json.loads(
        typist.cluster.run(typist.python, "-m", "launch", "status", "behind", "--json", cwd=typist.folder).stdout
    )
    points = {line["run"]: line["mAP"] for line in said}
    for run in trained:
        assert points[run.path.name] == {name: result(run.path, name)["mAP"] for name in ("semisup_coco_10", "knn")}


def test_an_evaluation_of_a_failed_run_is_cancelled(typist: Typist) -> None:
    typed = (*ALONE, "evaluation=knn", "optim.epochs=40")
    run, behind = typist.submit(*typed, sweep="failing")
    assert behind.record()["Dependency"].startswith(f"afterok:{run.job}")
    run.hold_at(1, tasks=1)
    typist.cluster.run("scancel", run.job)
    typist.cluster.wait_job(run.job, "CANCELLED", 60)
    assert typist.cluster.wait_job(behind.job, "CANCELLED", 90)
    assert not list(behind.path.glob("attempts/0*"))
    again, later = typist.submit(*typed, sweep="failing")
    assert (again.path, later.path) == (run.path, behind.path)
    assert again.job != run.job and later.job != behind.job
    time.sleep(0.1)
    typist.cluster.run("scancel", again.job, later.job)
