"""What is found before a long training, instead of at the evaluation behind it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from golang.config import Config
from golang.config.checks import check
from golang.config.identity import run_id
from golang.data.toy.write import write
from golang.engine.doorway import prepare
from golang.errors import ConfigError, DataError
from golang.runfolder.evaluations import of_run, result_name
from golang.settled import identified
from golang.world import World
from tests.resume.harness import settings

TOY = {"classes": 5, "size": 32, "train": 8, "val": 4, "seed": 1}


def asked(root: Path, *protocols: str) -> Config:
    return settings(root, data={"toy": TOY}, evaluation={"protocol": list(protocols)})


def test_a_missing_scorer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "faster_coco_eval" else find(name))
    check(asked(tmp_path, "segment", "detect_voc"))
    for name in ("detect", "detect_coco"):
        with pytest.raises(ConfigError, match=rf"evaluation={name} is scored by faster-coco-eval.*pip install"):
            check(asked(tmp_path, "segment", name))


@pytest.mark.parametrize("protocol", ["detect", "segment", "detect_voc"])
def test_a_generated_set_of_before(tmp_path: Path, protocol: str) -> None:
    config = asked(tmp_path / "toy", protocol)
    prepare(config, World())
    write(tmp_path / "toy", config.data.toy, workers=1)
    prepare(config, World())
    for file in (tmp_path / "toy/annotations").glob("*.json"):
        document = json.loads(file.read_text())
        document["info"] = {
            key: value for key, value in document["info"].items() if key in ("description", "recipe", "toy")
        }
        for one in document["annotations"]:
            one["segmentation"] = []
        file.write_text(json.dumps(document))
    prepare(asked(tmp_path / "toy", "linear"), World())
    with pytest.raises(
        DataError, match=r"was written before the generated set had masks; `python -m golang\.data\.toy"
    ):
        prepare(config, World())


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    """Boxes that are outside of their image are found in the images to measure on."""
    root = write(tmp_path / "toy", asked(tmp_path / "toy").data.toy, workers=1)
    file = root / "annotations/instances_val2017.json"
    document = json.loads(file.read_text())
    document["annotations"][1]["bbox"] = [40.0, 40.0, 5.0, 5.0]
    file.write_text(json.dumps(document))
    data = {"name": "coco"}
    for split in ("train", "val"):
        data[split] = {
            "images": [str(root / f"{split}2017")],
            "annotations": str(root / f"annotations/instances_{split}2017.json"),
        }
    values = asked(root, "detect").to_dict()
    values["data"] = {"workers": 0, **data}
    identity = document["annotations"][1]["id"]
    with pytest.raises(DataError, match=rf"instances_val2017\.json.*{identity}.*outside"):
        prepare(Config.from_dict(values), World())


def own(root: Path, *protocols: str) -> Config:
    data: dict = {"name": "coco", "workers": 0}
    for split in ("train", "val"):
        file = root / f"annotations/instances_{split}2017.json"
        data[split] = {"images": [str(root / f"{split}2017")], "annotations": str(file)}
    return Config.from_dict({"data": data, "evaluation": {"protocol": list(protocols)}})


def test_a_corrected_box_makes_another_evaluation(tmp_path: Path) -> None:
    """And a moved set the same; what asks for labels alone sees no difference, nor does the training."""
    root = write(tmp_path / "toy", asked(tmp_path / "toy").data.toy, workers=1)

    def ids(root: Path) -> dict[str, str]:
        config = identified(own(root, "linear", "detect"))
        return {
            "training": run_id(config),
            **{str(one.evaluation.protocol): run_id(identified(one)) for one in of_run(config, tmp_path / "run")},
        }

    before = ids(root)
    assert len(set(before.values())) == 3
    moved = root.rename(tmp_path / "moved")
    assert ids(moved) == before
    file = moved / "annotations/instances_train2017.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["bbox"][2] -= 1
    file.write_text(json.dumps(document))
    after = ids(moved)
    assert [name for name in before if before[name] != after[name]] == ["('detect',)"]
    names = [result_name(one) for one in of_run(identified(own(moved, "linear", "detect")), tmp_path / "run")]
    assert [name.count("-") for name in names] == [2, 3]
