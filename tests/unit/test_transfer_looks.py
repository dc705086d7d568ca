"""What is found before a long training, instead of at the evaluation behind it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from golang.config import Config
from golang.config.checks import check
from golang.data.toy.write import write
from golang.engine.doorway import prepare
from golang.errors import ConfigError, DataError
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
