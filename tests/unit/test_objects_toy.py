"""Generated sets of before they had masks: told from new ones, trained on as ever, and given masks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from golang.config import Data, Toy
from golang.data import sets
from golang.data.__main__ import main as golang_data
from golang.data.objects.sets import open_objects, open_segments
from golang.data.readers.fingerprint import fingerprint
from golang.data.toy import layouts, scene
from golang.data.toy import write as toy
from golang.data.toy.__main__ import main
from golang.errors import DataError

pytest.importorskip("matplotlib")

SMALL = Toy(size=32, train=66, val=4)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written_before(root: Path) -> Path:
    """A set as it was written before it had masks."""
    toy.write(root, SMALL, workers=1)
    for split in scene.SPLITS:
        path = root / "annotations" / f"instances_{split}.json"
        document = json.loads(path.read_text())
        del document["info"]["masks"]
        for one in document["annotations"]:
            one["segmentation"] = []
        path.write_text(json.dumps(document))
    return root


def test_it_is_told_and_given_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, old = toy.write(tmp_path / "new", SMALL, workers=1), written_before(tmp_path / "old")
    assert toy.has_masks(new) and not toy.has_masks(old)
    before, config = content(old), Data(name="toy", root=str(old), toy=SMALL)
    train = sets.open_train(config)
    assert train.labels is not None and content(old) == before, "training goes on as ever"
    with pytest.raises(DataError, match="before the generated set had masks"):
        open_segments(config, "val")
    with pytest.raises(DataError, match="before the generated set had masks") as caught:
        open_objects(config, "train")
    command = shlex.split(str(caught.value).split("`")[1])
    assert command[:3] == ["python", "-m", "golang.data.toy"]
    images = {path: path.stat().st_ino for path in old.rglob("*.jpg")}
    main(command[3:])
    assert content(old) == content(new) and {path: path.stat().st_ino for path in old.rglob("*.jpg")} == images
    again = sets.open_train(config)
    assert again.labels is not None and np.array_equal(again.labels, train.labels)
    assert fingerprint(again) == fingerprint(train)
    assert open_objects(config, "train").shapes is not None
    main(command[3:])
    assert content(old) == content(new) and capsys.readouterr().out.splitlines() == [str(old)] * 2


def test_scenes_of_other_glyphs_are_given_none(tmp_path: Path) -> None:
    place = written_before(tmp_path / "set")
    path = place / "annotations" / "instances_train2017.json"
    document = json.loads(path.read_text())
    document["annotations"][3]["bbox"][0] += 1
    path.write_text(json.dumps(document))
    message = r"instances_train2017\.json: the glyphs of this matplotlib are not those .*annotation 4\)"
    with pytest.raises(DataError, match=message):
        layouts.provide(place, SMALL, "coco")
    assert json.loads(path.read_text()) == document


def test_check_finds_nothing_wrong_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golang_data(["check", str(toy.write(tmp_path / "new", SMALL, workers=1))]) == 0
    assert "boxes with masks" in capsys.readouterr().out
    assert golang_data(["check", str(written_before(tmp_path / "old"))]) == 0
    assert "boxes" not in capsys.readouterr().out
