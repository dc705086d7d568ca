"""Evaluations on several ranks give one rank's result, and stop and go on like training."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.config import Config, Evaluation
from golang.data.toy.write import write
from golang.engine.session import Session
from golang.engine.stops import Vigil
from golang.evaluation.probe import during
from golang.evaluation.probe.during import PeriodicProbe
from golang.evaluation.protocols import numbers as protocols
from golang.method.trunk import build_trunk
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics
from golang.weights.sealed import read
from tests.resume.harness import differences, final_state, launch, settings

SHORT = {  # 22 of the 44 images in batches of 8, 8 and 6; or 7 in batches of 4 and 3
    "linear_coco": {"epochs": 3, "batch_size": 8, "share": 0.5},
    "semisup_coco_10": {"epochs": 3, "batch_size": 4, "share": 0.16, "milestones": (2,), "trunk_lr": 0.01},
}


def shorten() -> None:
    """In each rank's process: the protocols' own rules on fewer images."""
    for name, changes in SHORT.items():
        protocols.PROTOCOLS[name] = replace(protocols.PROTOCOLS[name], **changes)


def stop_at(step: int, number: int = signal.SIGTERM) -> None:
    """The last rank gets `number` after that step."""
    shorten()
    go_on = Session.step

    def stopping(self: Session, done: int) -> bool:
        due = go_on(self, done)
        if done == step and self.rank.world.rank == self.rank.world.size - 1:
            self.saver.wait()  # what was saved before counts as saved, however slow the disk
            os.kill(os.getpid(), number)
        return due

    Session.step = stopping


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Config]:
    """The settings of an evaluation of the same weights, in fp64."""
    root = tmp_path_factory.mktemp("evaluated")
    toy = {"classes": 5, "size": 32, "train": 44, "val": 25, "seed": 1}
    config = settings(root / "toy", precision="fp64", data={"workers": 1, "toy": toy})
    write(root / "toy", config.data.toy, workers=1)
    torch.manual_seed(3)
    torch.save(build_trunk("small").state_dict(), root / "trunk.pt")

    def of(name: str) -> Config:
        evaluation = Evaluation(protocol=(name,), checkpoint=str(root / "trunk.pt"))
        return Config.from_dict(replace(config, evaluation=evaluation).to_dict())

    return of


@pytest.fixture(scope="module")
def alone(asked: Callable[[str], Config], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An evaluation on one rank that nobody stops."""

    @functools.cache
    def of(name: str) -> Path:
        folder = tmp_path_factory.mktemp("alone") / name
        assert launch(asked(name), folder, ranks=1, prepare=shorten) == [0]
        return folder

    return of


def result(folder: Path, name: str) -> dict:
    found = json.loads((folder / "evaluation" / name / "result.json").read_text())
    for line in found.get("history", []):
        line.pop("seconds")
    return found


@pytest.mark.parametrize("name", ["linear_coco", "semisup_coco_10", "knn"])
def test_two_ranks_agree_with_one(
    asked: Callable[[str], Config], alone: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    assert launch(asked(name), tmp_path / "two", ranks=2, prepare=shorten) == [0, 0]
    one, two = result(alone(name), name), result(tmp_path / "two", name)
    assert differences(one, two, tolerance=1e-9) == []
    assert 0 < one["mAP"] < 100 and RunFolder(tmp_path / "two").done
    if name == "knn":
        return
    states = [final_state(folder) for folder in (alone(name), tmp_path / "two")]
    for state in states:
        state.pop("history")
    assert differences(*states, tolerance=1e-9) == []
    assert len(states[0]["parts"]) == (2 if name.startswith("semisup") else 1)
    start = torch.load(asked(name).evaluation.checkpoint, weights_only=True)
    if name.startswith("semisup"):
        for key in ("conv1.weight", "bn1.running_var", "bn1.bias"):
            assert not torch.equal(states[0]["parts"][1][key].float(), start[key]), f"{key} has learned"


@pytest.mark.parametrize(("name", "step"), [("linear_coco", 4), ("semisup_coco_10", 2)])
def test_a_stopped_evaluation_goes_on_to_the_same_bits(
    asked: Callable[[str], Config], alone: Callable[[str], Path], tmp_path: Path, name: str, step: int
) -> None:
    """One rank of two is told; stopped in the middle of an epoch, or while the test images are scored."""
    folder = tmp_path / "run"
    whole = tmp_path / "whole"
    assert launch(asked(name), whole, ranks=2, prepare=shorten) == [0, 0]
    assert launch(asked(name), folder, ranks=2, prepare=functools.partial(stop_at, step)) == [75, 75]
    saved = final_state(folder)["done"]
    assert step <= saved <= step + 2 and not RunFolder(folder).done
    assert read_json(folder / "attempts" / "00" / "cause.json")["cause"] == "terminated"
    assert read_json(folder / "attempts" / "00" / "status.json")["state"] == "stopped"
    assert launch(asked(name), folder, ranks=2, prepare=shorten) == [0, 0]
    assert result(folder, name) == result(whole, name)
    states = [final_state(path) for path in (whole, folder)]
    for state in states:
        state.pop("history")
    assert differences(*states) == []
    assert launch(asked(name), folder, ranks=1, prepare=shorten) == [0], "finished, left alone"
    assert len(RunFolder(folder).attempt_numbers()) == 2


def test_a_killed_evaluation_goes_on_from_its_last_save(asked: Callable[[str], Config], tmp_path: Path) -> None:
    config = asked("linear_coco")
    config = replace(config, checkpoint=replace(config.checkpoint, every_steps=2))
    killed = functools.partial(stop_at, 7, signal.SIGKILL)
    assert launch(config, tmp_path / "run", ranks=1, prepare=killed) == [-signal.SIGKILL]
    newest = max((tmp_path / "run" / "checkpoints").glob("step_*.pt"))
    assert read(newest)["done"] == 6
    assert launch(config, tmp_path / "run", ranks=1, prepare=shorten) == [0]
    assert "goes on after step 6" in (tmp_path / "run" / "attempts" / "01" / "rank0.log").read_text()


def endless_probe() -> None:
    """The probe on rank 0 has no end of its own, and only rank 1 is asked to stop, once it waits."""

    def look(self: PeriodicProbe, trunk: object, step: int, epochs: int, stopped: Callable[[], bool]) -> None:
        while not stopped():
            time.sleep(0.01)

    wait = Vigil.wait

    def asked(self: Vigil) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        wait(self)

    PeriodicProbe.look, Vigil.wait = look, asked


def test_a_stop_ends_a_probe_on_another_rank(data_root: Path, tmp_path: Path) -> None:
    config = replace(settings(data_root), evaluation=Evaluation(probe_every_epochs=1))
    assert launch(config, tmp_path / "run", ranks=2, prepare=endless_probe) == [75, 75]
    assert 5 <= final_state(tmp_path / "run")["step"] <= 7


def test_a_probe_reads_its_labels_once_and_can_be_stopped_while_solving(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, open_labelled = [], during.open_labelled
    monkeypatch.setattr(during, "open_labelled", lambda data: opened.append(data) or open_labelled(data))
    config = replace(settings(data_root), evaluation=Evaluation(probe_every_epochs=1))
    probe, trunk = PeriodicProbe(config, tmp_path), build_trunk("small").eval()
    asked = iter([False] * 4 + [True])
    probe.look(trunk, 5, 1, lambda: next(asked))
    assert read_metrics(probe.path) == []
    assert next(asked, "all were asked") == "all were asked", "two before features, the rest while solving"
    for step in (10, 15):
        probe.look(trunk, step, step // 5, lambda: False)
        assert read_metrics(probe.path)[-1]["step"] == step
    assert len(opened) == 1
