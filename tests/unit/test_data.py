"""Readers, multi-crop and the loader's processes, on look-alikes of a few generated images."""

from __future__ import annotations

import json
import os
import pickle
import random
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from golang.config import Augment, Data
from golang.data import check, sets
from golang.data.crops.multicrop import MultiCrop, collate
from golang.data.images import ImageSet
from golang.data.readers.coco import Coco
from golang.data.readers.folder import Folder
from golang.data.readers.table import READERS
from golang.data.toy import write
from golang.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
SMALL = replace(Augment(), large_size=32, small_size=16, small_count=2)
CATEGORIES = [(1, "person"), (90, "toothbrush"), (3, "car")]  # gaps, and not in the order of their ids


def save(path: Path, seed: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


def write_coco(root: Path, year: int, edit=None) -> Path:
    for split in ("train", "val"):
        prefix = f"COCO_{split}2014_" if year == 2014 else ""
        names = [f"{prefix}{n:012d}.jpg" for n in (9, 4, 25, 30, 7)]
        for n, name in enumerate(names):
            save(root / f"{split}{year}" / name, n)
        document = {
            "info": {"year": year},
            "images": [{"id": 100 - n, "file_name": name, "height": 24, "width": 32} for n, name in enumerate(names)],
            "annotations": [
                {"id": 1, "image_id": 100, "category_id": 90, "iscrowd": 0, "segmentation": [[1.5, 2, 3, 4]]},
                {"id": 2, "image_id": 100, "category_id": 90, "iscrowd": 0, "segmentation": [[1, 2, 3, 4]]},
                {"id": 3, "image_id": 98, "category_id": 1, "iscrowd": 1, "segmentation": {"counts": [], "size": []}},
                {"id": 4, "image_id": 96, "category_id": 3, "iscrowd": 0, "segmentation": []},
                {"id": 5, "image_id": 96, "category_id": 1, "iscrowd": 0, "segmentation": []},
            ],
            "categories": [{"id": key, "name": name, "supercategory": "x"} for key, name in CATEGORIES],
        }
        if edit is not None:
            edit(document)
        target = root / "annotations" / f"instances_{split}{year}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(document))
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for n in range(12):
        save(root / f"{n:02d}.jpg", n)
    return root


@pytest.mark.parametrize("year", [2014, 2017])
def test_coco(tmp_path: Path, year: int) -> None:
    root = write_coco(tmp_path, year)
    for split in ("train", "val"):
        images = Coco(year).read(root, split)
        assert len(images) == 5 and images.classes == ("person", "toothbrush", "car")
        assert images.labels is not None and images.labels.dtype == np.uint8
        # Columns in the order of the categories; the crowd counts; two images hold nothing.
        assert images.labels.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1]]
        assert [images.path(i).name[-7:] for i in range(5)] == ["009.jpg", "004.jpg", "025.jpg", "030.jpg", "007.jpg"]
        assert images.load(4).size == (32, 24) and images.load(4).mode == "RGB"
    config = Data(name=f"coco{year}", root=str(root))  # type: ignore[arg-type]
    sets.check_root(config, ("train", "val"))
    assert sets.open_train(config).root == root / f"train{year}"
    assert sets.open_val(config).root == root / f"val{year}"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["annotations"].append({"image_id": 5, "category_id": 1}), "unknown image 5"),
        (lambda d: d["annotations"].append({"image_id": 100, "category_id": 2}), "unknown category 2"),
        (lambda d: d["annotations"].append({"image_id": [1], "category_id": 1}), "unknown image None"),
        (lambda d: d["annotations"].append({"image_id": 100}), "without image_id and category_id"),
        (lambda d: d["images"][1].update(file_name=d["images"][0]["file_name"]), "listed twice"),
        (lambda d: d["images"][1].update(id=100), "image id 100 is listed twice"),
        (lambda d: d["images"][1].pop("file_name"), "without id and file_name"),
        (lambda d: d["images"][1].update(file_name=7), "without id and file_name"),
        (lambda d: d["images"].clear(), "list of images is empty"),
        (lambda d: d["images"][1].update(file_name="../../secret.jpg"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="a/../../b.jpg"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="..\\b.jpg"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="/etc/passwd"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="C:\\b.jpg"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="a\0b.jpg"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name=""), "leaves the folder"),
        (
            lambda d: [image.update(file_name=f"gone{image['id']}.jpg") for image in d["images"]],
            "gone100.jpg does not exist",
        ),
        (lambda d: d["categories"].append({"id": 1, "name": "again"}), "category id 1 is listed twice"),
        (lambda d: d["categories"].append({"id": 99, "name": "car"}), "category 'car' is listed twice"),
        (lambda d: d["categories"].append({"id": 4}), "category without id and name"),
        (lambda d: d["categories"].clear(), "list of categories is empty"),
        (lambda d: d.pop("annotations"), "no list named 'annotations'"),
        (lambda d: d.update(images={}), "no list named 'images'"),
    ],
)
def test_coco_contradictions(tmp_path: Path, edit, message: str) -> None:
    root = write_coco(tmp_path, 2017, edit)
    with pytest.raises(DataError, match=message) as error:
        Coco(2017).read(root, "train")
    assert "instances_train2017.json" in str(error.value)


def test_labels_of_two_splits_that_disagree(tmp_path: Path) -> None:
    root = write_coco(tmp_path, 2017)
    file = root / "annotations/instances_val2017.json"
    document = json.loads(file.read_text())
    document["categories"].reverse()
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match="disagree: class 1 is person there and car here"):
        sets.open_labelled(Data(name="coco2017", root=str(root)))
    report = list(check.examine(Data(name="coco2017", root=str(root)), True, lambda done, total: None))[1]
    assert "train2017 (" in report.error and "disagree" in report.error and not report.good


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"images": [}', "[" * 100_000, "\xff"])
def test_coco_malformed_json(tmp_path: Path, text: str) -> None:
    root = write_coco(tmp_path, 2017)
    (root / "annotations/instances_train2017.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="not an intact COCO annotation file"):
        Coco(2017).read(root, "train")


@pytest.mark.parametrize("missing", ["", "train2014", "annotations/instances_train2014.json"])
def test_coco_missing_files_print_the_layout(tmp_path: Path, missing: str) -> None:
    root = tmp_path / "coco"
    if missing:
        path = write_coco(root, 2014) / missing
        path.rename(tmp_path / "elsewhere")
    config = Data(name="coco2014", root=str(root))
    for attempt in (sets.check_root, sets.open_train):
        with pytest.raises(DataError) as error:
            attempt(config)
        assert f"{root / missing} does not exist" in str(error.value)
        assert f"{root}/train2014/*.jpg" in str(error.value) and "data.root=" in str(error.value)
    if missing:
        assert len(sets.open_val(config)) == 5  # the other split is whole


def test_every_set_that_the_settings_know_has_a_reader() -> None:
    assert sorted(READERS) == sorted(typing.get_args(typing.get_type_hints(Data)["name"]))
    assert all(set(reader.covers) < set(READERS) for reader in READERS.values())


@pytest.mark.parametrize("name", ["coco2014", "coco2017", "folder"])
def test_a_root_is_asked_for(name: str) -> None:
    with pytest.raises(DataError, match=r"needs data\.root=FOLDER"):
        sets.check_root(Data(name=name))  # type: ignore[arg-type]


def test_toy_is_written_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "default_root", lambda spec: tmp_path / f"default-{spec.size}")
    monkeypatch.setattr(write, "write", lambda root, spec: write_coco(root, 2017))
    sets.check_root(Data(name="toy"))
    assert sets.open_train(Data(name="toy")).root == tmp_path / "default-64" / "train2017"
    assert sets.open_val(Data(name="toy", root=str(tmp_path / "own"))).root == tmp_path / "own" / "val2017"


def test_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a/b/c.webp", "A.bmp", "d.jpeg", ".hidden/x.jpg"):
        save(tmp_path / name, 0)
    for name in ("notes.txt", "._b.jpg"):
        (tmp_path / name).write_text("no image")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    images = Folder().read(tmp_path)
    names = [images.path(i).relative_to(tmp_path).as_posix() for i in range(len(images))]
    assert names == ["A.bmp", "a/b/c.webp", "a/z.png", "b.JPG", "d.jpeg"]
    assert images.labels is None and images.classes == ()
    config = Data(name="folder", root=str(tmp_path))
    sets.check_root(config)
    assert len(sets.open_train(config)) == 5
    with pytest.raises(DataError, match="no labels"):
        sets.open_val(config)


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image below"):
        Folder().read(tmp_path)
    for path, message in ((tmp_path / "gone", "does not exist"), (tmp_path / "file", "is not a folder")):
        if path.name == "file":
            path.touch()
        with pytest.raises(DataError, match=message):
            sets.check_root(Data(name="folder", root=str(path)))


def test_images_are_rgb_and_names_survive(tmp_path: Path) -> None:
    names = ["grün 1.jpg", "sub/线.png", os.fsdecode(b"odd\xff.jpg")]
    for name, mode in zip(names, ("L", "P", "CMYK"), strict=True):
        save(tmp_path / name, 1, mode)
    images = ImageSet.of(tmp_path, names)
    assert [images.path(i) for i in range(3)] == [tmp_path / name for name in names]
    assert [images.load(i).mode for i in range(3)] == ["RGB"] * 3
    assert len(ImageSet.of(tmp_path, [])) == 0
    for index in (-1, 3):
        with pytest.raises(IndexError):
            images.path(index)


def test_names_stay_small() -> None:
    images = ImageSet.of(Path("/data"), [f"COCO_train2014_{n:012d}.jpg" for n in range(10_000)])
    assert len(pickle.dumps(images)) < 50 * 10_000


def test_crops_depend_on_seed_epoch_index_and_view_alone(photos: Path) -> None:
    images = Folder().read(photos)
    dataset = MultiCrop(images, SMALL, seed=3)
    large, small, unreadable, _ = dataset[2, 5]
    assert unreadable.tolist() == []
    assert large.shape == (2, 3, 32, 32) and small.shape == (2, 3, 16, 16)
    assert large.dtype == small.dtype == torch.uint8 and len(dataset) == 12
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    again = MultiCrop(images, SMALL, seed=3)[2, 5]
    assert torch.equal(large, again[0]) and torch.equal(small, again[1])
    assert not torch.equal(large[0], large[1]) and not torch.equal(small[0], small[1])
    for other in (dataset[3, 5], dataset[2, 6], MultiCrop(images, SMALL, seed=4)[2, 5]):
        assert not torch.equal(large, other[0])
    fewer = MultiCrop(images, replace(SMALL, small_count=1), seed=3)[2, 5]
    assert torch.equal(large, fewer[0]) and torch.equal(small[:1], fewer[1])


def test_collate_stacks_by_view(photos: Path) -> None:
    dataset = MultiCrop(Folder().read(photos), SMALL, seed=3)
    items = [dataset[0, i] for i in range(3)]
    large, small, unreadable, _ = collate(items)
    assert unreadable.tolist() == []
    assert large.shape == (2, 3, 3, 32, 32) and small.shape == (2, 3, 3, 16, 16)
    assert large.is_contiguous() and small.is_contiguous()
    rows = large.flatten(0, 1)
    assert all(torch.equal(rows[v * 3 + i], items[i][0][v]) for v in range(2) for i in range(3))
    none = MultiCrop(dataset.images, replace(SMALL, small_count=0), seed=3)
    assert none[0, 0][1].shape == (0, 3, 16, 16)
    large, small, *_ = collate([none[0, i] for i in range(3)])
    assert torch.equal(large.flatten(0, 1), rows) and small.shape == (0, 3, 3, 16, 16)
