"""`python -m golang.data check`: which set it is, what is missing or damaged, and the exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from golang.config import Data, Toy
from golang.data import check
from golang.data.__main__ import main
from golang.data.readers.table import READERS
from golang.data.toy import layouts
from tests.unit.test_damaged import cut
from tests.unit.test_data import ROOT, save, write_coco
from tests.unit.test_voc import write_imagenet, write_voc


def test_recognised(tmp_path: Path) -> None:
    write_coco(tmp_path / "a", 2014)
    write_coco(tmp_path / "a", 2017)
    write_voc(tmp_path / "a" / "VOCdevkit", 2012)
    assert check.recognise(tmp_path / "a") == ["coco2014", "coco2017", "voc2012"]
    assert check.recognise(write_voc(tmp_path / "b", 2007)) == ["voc2007"]
    assert check.recognise(write_imagenet(tmp_path / "c")) == ["imagenet"]
    save(tmp_path / "d" / "x.png", 0)
    assert check.recognise(tmp_path / "d") == ["folder"]


def test_the_known_numbers() -> None:
    """As the papers give them."""
    assert READERS["coco2014"].images == {"train": 82783, "val": 40504}
    assert READERS["coco2017"].images == {"train": 118287, "val": 5000}
    assert READERS["voc2007"].images == {"train": 5011, "val": 4952}
    assert READERS["coco2017"].without_objects == {"train": 1021, "val": 48}
    assert (READERS["coco2017"].classes, READERS["voc2007"].classes) == (80, 20)


def test_a_look_alike_is_not_the_published_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path, 2017)
    assert main(["check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "COCO 2017 (data=coco2017)" in out
    assert "5 images, not 118,287" in out and "5 images, not 5,000" in out and "3 classes, not 80" in out
    assert "2 images without objects, not 1,021" in out


def test_damage_is_listed_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    layouts.provide(root, Toy(classes=5, size=32, train=300, val=4), "coco")
    files = sorted((root / "train2017").iterdir())
    assert check.recognise(root) == ["toy"], "not COCO 2017, whose layout it has"
    assert main(["check", str(root)]) == 0
    assert "300 of 300 images" in capsys.readouterr().out
    files[0].unlink()
    files[1].write_bytes(b"")
    cut(files[2])
    Image.new("L", (32, 32)).save(files[3])
    files[4].write_bytes(files[5].read_bytes()[:-60])
    assert main(["check", str(root), "--workers", "2"]) == 1
    out = capsys.readouterr().out
    assert f"missing: {files[0].name}" in out and f"empty: {files[1].name}" in out and "1 grayscale" in out
    assert f"unreadable: {files[2].name}: " in out and f"unreadable: {files[4].name}: " in out
    assert "4 of 300 files cannot be used; delete" in out and "training stops: more than 1 %" in out
    alone = list(check.examine(Data(name="toy", root=str(root)), False, lambda done, total: None, workers=1))
    pooled = list(check.examine(Data(name="toy", root=str(root)), False, lambda done, total: None, workers=2))
    assert alone == pooled and [report.good for report in alone] == [False, True]
    quick = next(check.examine(Data(name="toy", root=str(root)), True, lambda done, total: None))
    assert len(quick.missing) == len(quick.empty) == 1 and len(quick.unreadable) < 2, "headers do not show a cut"


def test_what_is_found_of_one_file(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", 0)
    save(tmp_path / "b.png", 0, "P")
    (tmp_path / "c.jpg").write_bytes((tmp_path / "b.png").read_bytes())
    assert check.inspect(tmp_path / "a.jpg") is None
    assert check.inspect(tmp_path / "b.png") == ("converted", "palette")
    assert check.inspect(tmp_path / "c.jpg") == ("converted", "in another format than their suffix says (PNG in .jpg)")
    assert check.inspect(tmp_path / "d.jpg") == ("missing", "")


def test_contradictions_are_said_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path, 2007, {"cat_trainval.txt": "x 1\n"})
    assert main(["check", str(tmp_path), "--set", "voc2007"]) == 1
    out = capsys.readouterr().out
    assert "train cannot be read" in out and "other images than aeroplane_trainval.txt" in out
    assert "3 of 4,952 images" in out


def test_command_line(tmp_path: Path) -> None:
    document = json.dumps({"x": np.arange(3).tolist()})
    (tmp_path / "notes.json").write_text(document)
    for arguments, status, said in (
        ([str(tmp_path)], 1, "no image below"),
        ([str(tmp_path / "gone")], 2, "is not a folder"),
    ):
        command = [sys.executable, "-m", "golang.data", "check", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == status and said in done.stdout and "Traceback" not in done.stderr
