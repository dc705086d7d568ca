"""A detector learns: what it has been shown a few dozen times, it finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.data.objects.objects import Objects
from golang.data.objects.sets import open_objects
from golang.evaluation.transfer import build
from golang.method.trunk import build_trunk
from golang.runfolder.evaluations import results_of
from golang.runfolder.files import read_json
from golang.runfolder.pinned import pinned
from tests.learning.transfer import failures, markdown, picture
from tests.learning.trunks import LABELS, RANDOM, Figures
from tests.resume.harness import here, settings

pytest.importorskip("faster_coco_eval")
TOY = {"classes": 3, "size": 64, "train": 16, "val": 1, "seed": 1}
EPOCHS = 30


def test_detection_on_a_frozen_trunk_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk is an untrained one, and the images that are scored are those of training."""

    def shown(data: object) -> tuple[Objects, Objects]:
        train = open_objects(data, "train")  # type: ignore[arg-type]
        return train, train

    monkeypatch.setattr(build, "open_both", shown)
    torch.manual_seed(3)
    torch.save(build_trunk("small").state_dict(), tmp_path / "trunk.pt")
    asked = {
        "protocol": "detect",
        "checkpoint": str(tmp_path / "trunk.pt"),
        "frozen": True,
        "batch_size": 8,
        "lr": 0.2,
    }
    config = pinned(settings(tmp_path / "toy", data={"workers": 0, "toy": TOY}, evaluation=asked))
    found = []
    for epochs in (1, EPOCHS):
        one = replace(config, evaluation=replace(config.evaluation, epochs=epochs))
        assert here(one, tmp_path / str(epochs)) == 0
        found.append(read_json(results_of(one, tmp_path / str(epochs)) / "result.json"))
    before, after = (one["AP50"] for one in found)
    assert before < 2
    assert after > 20


def test_the_check_names_every_bar_that_is_missed(tmp_path: Path) -> None:
    table = {
        RANDOM: {0: Figures(3.0, 1.0, None), 1: Figures(5.0, 1.0, None)},
        "SwAV": {0: Figures(8.0, 3.0, 25.0)},
        "GOLANG": {0: Figures(7.0, 3.0, 20.0), 1: Figures(10.0, 3.0, 20.0)},
        LABELS: {0: Figures(20.0, 9.0, 30.0)},
    }
    assert failures(table) == []
    assert "| random init | **4.0** (3.0, 5.0) | **1.0** (1.0, 1.0) | – |" in markdown(table, [0, 1], 7)
    picture(table, tmp_path / "check.png", 7)
    assert (tmp_path / "check.png").stat().st_size > 10_000
    table["GOLANG"] = {0: Figures(6.9, 3.0, 20.0), 1: Figures(9.9, 3.0, 19.9)}
    assert failures(table) == [
        "seed 0: AP50 of GOLANG's boxes is 6.9, not 7.0 or more",
        "seed 1: AP50 of GOLANG's boxes is 9.9, not 10.0 or more",
        "seed 1: mIoU of GOLANG is 19.9, not 20 or more",
    ]
