"""Evaluations as jobs: stopped and requeued they end with the same figures, behind a training they start once it has
ended well, and are cancelled when it has failed for good."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.config import Config
from golang.data.toy.write import write
from golang.method.trunk import build_trunk
from golang.runfolder import checkpoints
from golang.runfolder.pinned import pinned
from golang.weights import sealed
from tests.resume.harness import differences, final_state, launch, settings

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


@pytest.mark.long
def test_a_preempted_detection_behind_its_run_ends_with_the_same_figures(
    typist: Typist, config: Config, tmp_path: Path
) -> None:
    """Two ranks learn boxes and masks, are preempted between two saves, and go on; once more without a stop."""
    pytest.importorskip("faster_coco_eval")
    trained, behind = typist.submit(
        "cluster.tasks_per_node=1", "evaluation=detect", "evaluation.epochs=3", "evaluation.batch_size=8",
        "checkpoint.every_steps=5", "cluster.partition=low", sweep="detected",
    )  # fmt: skip
    assert behind.record()["Dependency"].startswith(f"afterok:{trained.job}")
    behind.wait(lambda run: list(run.path.glob("checkpoints/step_*.pt")), 300, "saved")
    for pid in behind.ranks().values():
        typist.cluster.run("kill", "-STOP", str(pid), check=False)
    preempt(typist.cluster, behind)
    behind.wait_done()
    first, second = behind.attempts
    assert "requeued" in behind.words() and json.loads((first / "cause.json").read_text())["cause"] == "preempted"
    assert 0 < json.loads((first / "cause.json").read_text())["step"] < 75, "in training"
    assert json.loads((second / "start.json").read_text())["resumed_from"] and "Traceback" not in behind.text()
    (folder,) = trained.path.glob("evaluation/detect-*")
    asked = Config.from_dict(json.loads((behind.path / "config.yaml").read_text()))
    weights = shutil.copy(checkpoints.find(trained.path), tmp_path / "trained.pt")
    evaluation = replace(asked.evaluation, checkpoint=str(weights), run="")
    whole = pinned(replace(asked, sweep="x", evaluation=evaluation))
    assert launch(whole, tmp_path / "run", ranks=NODES) == [0] * NODES
    (again,) = (tmp_path / "run").glob("evaluation/detect-*")
    found, expected = (json.loads((one / "result.json").read_text()) for one in (folder, again))
    assert found.pop("checkpoint") != expected.pop("checkpoint") and found == expected
    assert differences(*(sealed.read(one / "detections.pt") for one in (folder, again))) == []
    assert differences(final_state(behind.path)["network"], final_state(tmp_path / "run")["network"]) == []


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
