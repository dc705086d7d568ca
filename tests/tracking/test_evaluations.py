"""What evaluations find, on W&B: those behind a run, those of a checkpoint, and the probe while a run trains."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.config import Config, Toy
from golang.data.toy.write import write
from golang.method.trunk import build_trunk
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics
from golang.tracking.publish import publish
from launch.__main__ import main
from tests.cli.command import command, run
from tests.resume.harness import here, metrics, settings
from tests.tracking import records
from tests.tracking.conftest import roll_back, wait
from tests.tracking.server import Run, Server

WANDB = {"name": "wandb"}


def test_the_probe_while_training(
    configure: Callable[..., Config], attempt: Callable[..., int], server: Server, tmp_path: Path
) -> None:
    """A point each, once, whatever happens: with a line of metrics where the next step has one, else by itself."""
    evaluation = {"probe": False, "probe_every_epochs": 1}
    config, folder = replace(configure(tracking=WANDB, evaluation=evaluation), log_every_steps=3), tmp_path / "run"
    assert attempt(config, folder, stop=13) == 75
    ((_, sent),) = server.runs.items()
    whole = [3, 6, 9, 11, 12, 15, 16, 18, 20]
    assert sent.steps == [step for step in whole if step <= metrics(folder)[-1]["step"]]
    del sent.history[3:]  # as if they had not arrived
    sent.summary["_step"] = 9
    roll_back(folder)
    assert attempt(config, folder) == 0
    assert sent.steps == whole

    probes = read_metrics(RunFolder(folder).probes_file)
    assert [probe["step"] for probe in probes] == [5, 10, 15]
    curve = [(row["_step"], row["probe/step"], row["probe/mAP"]) for row in sent.history if "probe/mAP" in row]
    assert curve == [(probe["step"] + 1, probe["step"], probe["mAP"]) for probe in probes]
    assert [row["step"] for row in sent.history if "loss" in row] == [3, 6, 9, 12, 15, 18, 20]
    before = sent.history[:]
    assert publish(folder).startswith("sent to ") and sent.history == before

    publish(folder, offline=True)
    (clean,) = records.files(folder / "wandb/clean-pretrain")
    assert [row for row in records.history(clean) if "probe/mAP" in row] != []
    assert [row["_step"] for row in records.history(clean)] == sent.steps
    axes = {r.metric.name: r.metric.step_metric for r in records.records(clean) if r.HasField("metric")}
    assert (axes["probe/mAP"], axes["probe/step"]) == ("probe/step", "")


def test_behind_a_run_on_this_machine(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training of two processes and two evaluations of its end, then one more of the finished run: the results are
    in the run's folder, in its status and in one W&B run of its sweep's group."""
    root = write(tmp_path / "data", Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)
    common = ("optim.epochs=2", "optim.warmup_epochs=0", "data.workers=0", "tracking=wandb", "sweep=behind")
    here = ("cluster=local", "cluster.tasks_per_node=2", "cluster.env={OMP_NUM_THREADS: 1}")
    code, output = run(tmp_path, command(root, *common, *here, "evaluation=[knn,semisup_coco_10]"))
    assert code == 0 and "3 submitted" in output, output
    sweep, deadline = tmp_path / "runs/behind", time.monotonic() + 240
    while len(list(sweep.glob("*/DONE"))) < 3:
        logs = "".join(file.read_text() for file in sweep.glob("submissions/*/*/*_log.*"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)
    (trained,) = (path for path in sweep.glob("*/") if (path / "metrics.jsonl").exists())
    for path in sweep.glob("*/attempts/00/start.json"):
        assert json.loads(path.read_text())["world_size"] == 2
    found = {path.parent.name: json.loads(path.read_text()) for path in trained.glob("evaluation/*/result.json")}
    assert found.keys() == {"knn", "semisup_coco_10"}

    name = json.loads((trained / "wandb/run.json").read_text())["id"]
    wait(lambda: len(server.runs.get(f"{name}-eval", Run({})).exits) == 2)
    assert server.runs.keys() == {name, f"{name}-eval"}
    behind = server.runs[f"{name}-eval"]
    assert (behind.facts["jobType"], behind.facts["groupName"]) == ("eval", "behind")
    points = {protocol: result["mAP"] for protocol, result in found.items()}
    assert {protocol: behind.summary[f"evaluation/{protocol}/mAP"] for protocol in points} == points
    assert behind.summary["mAP"] == points["semisup_coco_10"] and not behind.history

    typed = command(
        root, "data=toy", "data.workers=0", "evaluation=linear_coco", "tracking=wandb", f"checkpoint={trained}"
    )
    code, output = run(tmp_path, typed)
    assert code == 0, output
    points["linear_coco"] = json.loads((trained / "evaluation/linear_coco/result.json").read_text())["mAP"]
    assert behind.summary["mAP"] == points["linear_coco"] and len(server.runs) == 2
    assert main(["status", str(trained), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["mAP"] == points
    assert main(["sync", str(sweep)]) == 0
    assert len(server.runs) == 2 and capsys.readouterr().out.count("sent to") == 3


def test_an_evaluation_of_an_untracked_file_offline(tmp_path: Path) -> None:
    """tracking=offline writes W&B's files and asks no server; of a file that is of no run, with the evaluation."""
    root = write(tmp_path / "data", Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)
    torch.save(build_trunk("small").state_dict(), tmp_path / "trunk.pt")
    config = settings(
        root, data={"workers": 0}, tracking={"name": "offline"}, sweep="files",
        evaluation={"protocol": ["knn"], "checkpoint": str(tmp_path / "trunk.pt")},
    )  # fmt: skip
    assert here(config, tmp_path / "run") == 0
    (clean,) = records.files(tmp_path / "run" / "wandb" / "clean-eval")
    result = json.loads((tmp_path / "run/evaluation/knn/result.json").read_text())
    assert records.summary(clean)["mAP"] == result["mAP"]
    assert (records.run(clean).job_type, records.run(clean).run_group) == ("eval", "files")
