"""The generated set: true to its specification, to its pixels and to COCO's layout."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from golang.config import Toy
from golang.data.toy import glyphs, scene, textures
from golang.data.toy import write as toy
from golang.data.toy.__main__ import main
from golang.errors import ConfigError, DataError

pytest.importorskip("matplotlib")

SPEC = Toy(train=140, val=70, seed=5)
SMALL = Toy(size=32, train=66, val=4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(tmp_path_factory.mktemp("toy") / "set", SPEC, workers=1)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(counts: list[int]) -> list[list[bool]]:
    """The mask of run lengths that go down one column after the other, outside first."""
    flat = [bool(n % 2) for n, count in enumerate(counts) for _ in range(count)]
    return [flat[row::64] for row in range(64)]


def read(root: Path, split: scene.Split) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    return data


def test_bytes_do_not_depend_on_the_number_of_workers(root: Path, tmp_path: Path) -> None:
    counted: list[tuple[int, int]] = []
    other = toy.write(tmp_path / "set", SPEC, workers=2, progress=lambda done, total: counted.append((done, total)))
    assert content(other) == content(root)
    assert counted[0] == (0, 210) and counted[-1] == (210, 210) and counted == sorted(counted)


def test_another_seed_draws_other_images(root: Path) -> None:
    first, again, other = (scene.render(spec, "val2017", 0) for spec in (SPEC, SPEC, replace(SPEC, seed=6)))
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(first.image, scene.render(SPEC, "train2017", 0).image)
    assert len({toy.default_root(spec) for spec in (SPEC, replace(SPEC, seed=6), replace(SPEC, size=65))}) == 3


def test_layout_is_that_of_coco(root: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == ["annotations", "toy.json", "train2017", "val2017"]
    images, annotations = [], []
    for split, count in zip(scene.SPLITS, (SPEC.train, SPEC.val), strict=True):
        data = read(root, split)
        assert data["info"]["toy"] == {"classes": 20, "size": 64, "train": 140, "val": 70, "seed": 5}
        assert [category["name"] for category in data["categories"]] == list(glyphs.NAMES[:20])
        categories = [category["id"] for category in data["categories"]]
        assert len(set(categories)) == 20 and max(categories) > 20
        assert len(data["images"]) == count
        assert {path.name for path in (root / split).iterdir()} == {image["file_name"] for image in data["images"]}
        own = {image["id"] for image in data["images"]}
        for image in data["images"]:
            assert image["file_name"] == f"{image['id']:012d}.jpg" and 0 <= image["scene"] < 4
            with Image.open(root / split / image["file_name"]) as opened:
                assert (opened.format, opened.mode, opened.size) == ("JPEG", "RGB", (image["width"], image["height"]))
        for annotation in data["annotations"]:
            assert annotation["image_id"] in own and annotation["category_id"] in categories
            assert annotation["iscrowd"] == 0 and annotation["segmentation"]["size"] == [64, 64]
        images += [image["id"] for image in data["images"]]
        annotations += [annotation["id"] for annotation in data["annotations"]]
    assert images[0] == 1
    for ids in (images, annotations):
        assert len(set(ids)) == len(ids) < max(ids), "ids are unique and have gaps"


def test_labels_are_those_of_the_visible_pixels(root: Path) -> None:
    data = read(root, "val2017")
    hidden = 0
    for index, image in enumerate(data["images"]):
        drawn = scene.render(SPEC, "val2017", index)
        with Image.open(root / "val2017" / image["file_name"]) as opened:
            stored = np.asarray(opened, np.float32)
        assert np.abs(stored - drawn.image).mean() < 8
        expected = []
        for position, thing in enumerate(drawn.things):
            mask = drawn.owner == position
            if thing.visible < 0.25:
                hidden += 1
                continue
            category = data["categories"][thing.category]["id"]
            left, top, right, bottom = Image.fromarray(mask).getbbox() or (0, 0, 0, 0)
            expected.append((category, [left, top, right - left, bottom - top], int(mask.sum()), mask.tolist()))
        own = [one for one in data["annotations"] if one["image_id"] == image["id"]]
        found = [(a["category_id"], a["bbox"], a["area"], pixels(a["segmentation"]["counts"])) for a in own]
        assert found == expected
        assert image["scene"] == drawn.number
    assert hidden > 5, "some objects are too hidden to be labelled"


def test_masks_lie_on_the_painted_pixels() -> None:
    """Objects are lighter than the background, so a mask that is off by two pixels covers darker ones."""
    inside, beside, outside = [], [], []
    for index in range(40):
        drawn = scene.render(SPEC, "train2017", index)
        luminance = drawn.image @ np.array(textures.LUMA) / 255
        seen = drawn.owner >= 0
        inside.append(luminance[seen])
        beside.append(luminance[np.roll(seen, (2, 2), (0, 1)) & ~seen])
        outside.append(luminance[~seen])
    light, edge, dark = (np.concatenate(values).mean() for values in (inside, beside, outside))
    assert light > 0.7 and edge < 0.45 and dark < 0.4


def test_visible_share_counts_the_whole_glyph() -> None:
    """An object alone in the middle is seen whole; one that the border cuts is not."""
    shares = []
    for index in range(70):
        drawn = scene.render(SPEC, "train2017", index)
        if len(drawn.things) > 1:
            continue
        x, y, width, height = drawn.things[0].bbox
        whole = x > 0 and y > 0 and x + width < 64 and y + height < 64
        assert (drawn.things[0].visible == 1) or not whole
        shares.append(drawn.things[0].visible)
    assert min(shares) < 0.8 and max(shares) == 1


def test_shares_of_the_set() -> None:
    drawn = [scene.render(Toy(), "train2017", index) for index in range(800)]
    labels = [{thing.category for thing in image.things if thing.labelled} for image in drawn]
    assert 1.7 < np.mean([len(names) for names in labels]) < 1.95
    assert 0.002 < np.mean([not names for names in labels]) < 0.02
    assert {category for names in labels for category in names} == set(range(20))
    own = [scene.of_class(thing.category, 20) == image.number for image in drawn for thing in image.things]
    assert 0.82 < np.mean(own) < 0.88
    repeats = [len(image.things) - len({thing.category for thing in image.things}) for image in drawn]
    further = sum(len(image.things) - 1 for image in drawn)
    assert 0.17 < sum(repeats) / further < 0.24


def test_backgrounds_share_one_histogram() -> None:
    fields = []
    for texture in textures.TEXTURES:
        rng = np.random.default_rng(0)
        fields.append(textures._equalised(rng, texture(rng, 64)))
    assert all(np.array_equal(np.sort(field, axis=None), np.sort(fields[0], axis=None)) for field in fields)
    assert len({field.tobytes() for field in fields}) == len(textures.TEXTURES)


def test_glyphs_differ() -> None:
    first = [np.asarray(variants[0].pyramid[0], np.float32) for variants in glyphs.load(len(glyphs.NAMES))]
    assert len(first) == len(set(glyphs.NAMES)) >= 40
    for i, a in enumerate(first):
        assert all(np.minimum(a, b).sum() < 0.85 * np.maximum(a, b).sum() for b in first[:i])


@pytest.mark.parametrize(("classes", "size"), [(1, 16), (7, 48), (40, 160)])
def test_any_size_and_number_of_classes(classes: int, size: int) -> None:
    drawn = [scene.render(Toy(classes=classes, size=size), "val2017", index) for index in range(30)]
    assert all(image.image.shape == (size, size, 3) for image in drawn)
    assert {thing.category for image in drawn for thing in image.things} <= set(range(classes))
    assert any(thing.labelled for image in drawn for thing in image.things)


@pytest.mark.parametrize(
    "wrong", [{"classes": 41}, {"classes": 0}, {"size": 8}, {"train": 0}, {"val": -1}, {"seed": -1}], ids=str
)
def test_impossible_sets_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.toy\.") as caught:
        toy.write(tmp_path / "set", replace(SMALL, **wrong))
    if wrong == {"classes": 41}:
        assert "between 1 and 40" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match="pip install matplotlib"):
        glyphs.load(3, side=40)  # a size nobody has loaded before


def test_a_finished_set_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "deep" / "set"
    toy.write(place, SMALL, workers=1)
    monkeypatch.setattr(scene, "render", None)
    assert toy.write(place, SMALL) == place
    with pytest.raises(DataError) as caught:
        toy.write(place, replace(SMALL, seed=1))
    assert '"seed": 0' in str(caught.value) and '"seed": 1' in str(caught.value) and "data.root" in str(caught.value)
    (place / toy.MARK).unlink()
    with pytest.raises(DataError, match="no finished toy set"):
        toy.write(place, SMALL)


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.write(tmp_path / "set", SMALL, workers=1, progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_killed_generation_is_started_over(tmp_path: Path) -> None:
    def wait(done: int, total: int) -> None:
        if done:
            time.sleep(60)

    child = multiprocessing.get_context("fork").Process(target=toy.write, args=(tmp_path / "set", SMALL, 1, wait))
    child.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".set.*/train2017/*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.01)
    ours = tmp_path / f"{toy._prefix(tmp_path / 'set')}{os.getpid()}.0"  # of a process that lives
    ours.mkdir()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not (tmp_path / "set").exists() and len(list(tmp_path.iterdir())) == 2
    toy.write(tmp_path / "set", SMALL, workers=1)
    assert sorted(tmp_path.iterdir()) == [ours, tmp_path / "set"]
    assert len(list((tmp_path / "set" / "train2017").iterdir())) == SMALL.train


def test_two_at_once_both_end_well(tmp_path: Path) -> None:
    meet = threading.Barrier(2, timeout=60)
    ended: list[Path] = []

    def report(done: int, total: int) -> None:
        if done == total:
            meet.wait()

    def run() -> None:
        ended.append(toy.write(tmp_path / "set", SMALL, 1, report))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [tmp_path / "set"] * 2
    assert list(tmp_path.iterdir()) == [tmp_path / "set"]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--train", "3", "--val", "2", "--size", "32", "--sheet", "sheet.png"])
    folder = toy.default_root(Toy(train=3, val=2, size=32))
    assert (folder / "annotations" / "instances_train2017.json").is_file()
    assert capsys.readouterr().out.splitlines()[-2:] == [str(folder), "sheet.png"]
    with Image.open("sheet.png") as opened:
        assert opened.width > 1000
    with pytest.raises(SystemExit, match="between 1 and 40"):
        main(["--classes", "41"])
