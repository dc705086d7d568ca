"""`data=coco` and `data=folder`: sets of one's own as tools write them, what is passed over, and their fingerprints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from golang.config import Config, Data, Part
from golang.config.checks import check as check_settings
from golang.data import check, sets
from golang.data.images import ImageSet
from golang.errors import ConfigError, DataError


def save(path: Path, shade: int = 0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(path)
    return str(path)


def names(images: ImageSet) -> list[str]:
    return [images.path(index).relative_to(images.root).as_posix() for index in range(len(images))]


def labels(images: ImageSet) -> list[list[int]]:
    assert images.labels is not None and images.labels.dtype == np.uint8
    return images.labels.tolist()


def document(*files: str, **more: Any) -> dict[str, Any]:
    """Two classes, a cat in the first image and a crowd of both in the last."""
    last = len(files)
    return {
        "images": [{"id": number, "file_name": file} for number, file in enumerate(files, 1)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 9, "image_id": 1, "category_id": 7, "segmentation": [[1, 2, 3, 4]], "bbox": [0, 0, 1, 1]},
            {
                "id": 5,
                "image_id": last,
                "category_id": 7,
                "iscrowd": 1,
                "segmentation": {"counts": [3, 4], "size": [1]},
            },
            {"id": 5, "image_id": last, "category_id": 3, "iscrowd": 1, "segmentation": {"counts": "ab", "size": [1]}},
        ],
        **more,
    }


def write(path: Path, content: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def coco(annotations: str, *images: str, **more: Any) -> Data:
    return Data(name="coco", train=Part(images=images, annotations=annotations), **more)


FILES = ("a.png", "b.png", "c.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images in `images`."""
    for shade, name in enumerate(FILES):
        save(tmp_path / "images" / name, shade)
    return tmp_path


@pytest.mark.parametrize(
    ("images", "annotations", "listed"),
    [
        ("images", "elsewhere/x.json", FILES),
        ("images", "elsewhere/x.json", ("./a.png", "sub/.././b.png".replace("sub/../", ""), ".//c.png")),
        (".", "result.json", ("images/a.png", "images\\b.png", "./images/c.png")),  # Label Studio
        (None, "images/_annotations.coco.json", FILES),  # Roboflow
        (None, "annotations/instances_default.json", FILES),  # CVAT
        (None, "result.json", ("images\\a.png", "images\\b.png", "images\\c.png")),
        (None, "x.json", FILES),
    ],
)
def test_where_images_lie(folder: Path, images: str | None, annotations: str, listed: tuple[str, ...]) -> None:
    file = write(folder / annotations, document(*listed))
    found = sets.open_train(coco(file, *([str(folder / images)] if images else [])))
    assert [found.path(index) for index in range(3)] == [folder / "images" / name for name in FILES]
    assert found.classes == ("cat", "dog") and labels(found) == [[1, 0], [0, 0], [1, 1]] and found.upright
    assert sets.open_train(coco(file, *([str(folder / images)] if images else [])), labelled=False).labels is None


def test_datumaro_and_roboflow_by_their_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / "d/images" / split / f"{split}.png")
        write(tmp_path / f"d/annotations/instances_{split}.json", document(f"{split}.png"))
        other = {"val": "valid"}.get(split, split)
        save(tmp_path / "r" / other / f"{split}.png")
        write(tmp_path / "r" / other / "_annotations.coco.json", document(f"{split}.png"))
    write(tmp_path / "d/annotations/captions_train.json", document("train.png"))
    write(tmp_path / "r/test/_annotations.coco.json", document("gone.png"))
    write(tmp_path / "r/notes.json", {"notes": []})
    for root in ("d", "r"):
        data = Data(name="coco", root=str(tmp_path / root))
        sets.check_root(data, ("train", "val"))
        assert [names(images) for images in sets.open_labelled(data)] == [["train.png"], ["val.png"]]
        assert check.recognise(tmp_path / root) == ["coco"]
    write(tmp_path / "d/annotations/instances_train_old.json", document("train.png"))
    with pytest.raises(DataError, match=r"several files of annotations, .*choose with data\.train\.ann"):
        sets.check_root(Data(name="coco", root=str(tmp_path / "d")))


def test_absolute_paths(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    below = tuple(str(folder / "images" / name) for name in FILES)
    images = sets.open_train(coco(write(folder / "x.json", document(*below)), str(folder / "images")))
    assert images.root == folder / "images" and names(images) == list(FILES)
    far = save(tmp_path_factory.mktemp("far") / "x.png", 9)
    images = sets.open_train(coco(write(folder / "x.json", document("a.png", far)), str(folder / "images")))
    assert images.root in folder.parents and images.path(1) == Path(far) and images.load(1).getpixel((0, 0))[0] == 9


def test_several_folders_of_images(folder: Path) -> None:
    save(folder / "more/d.png")
    places = [str(folder / "images"), str(folder / "more")]
    images = sets.open_train(coco(write(folder / "x.json", document("a.png", "d.png", "gone.png")), *places))
    assert images.root == folder and names(images) == ["images/a.png", "more/d.png", "images/gone.png"]


def test_ids_are_numbers_however_they_are_written(folder: Path) -> None:
    content = {
        "images": [{"id": number, "file_name": name} for number, name in zip((1.0, "2", "x"), FILES, strict=True)],
        "categories": [{"id": "7", "name": "cat"}, {"id": 3.0, "name": "dog"}, {"id": 0, "name": "owl"}],
        "annotations": [
            {"image_id": image, "category_id": category}
            for image, category in (("1", 7.0), (1, "3.0"), (2.0, 7), (" 2 ", "0"), ("x", 3))
        ],
    }
    images = sets.open_train(coco(write(folder / "images/x.json", content)))
    assert labels(images) == [[1, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_a_class_that_is_listed_again_is_numbered_by_its_id(folder: Path) -> None:
    categories = [{"id": 8, "name": "cat"}, {"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    content = document(*FILES, categories=categories)
    images = sets.open_train(coco(write(folder / "images/x.json", content)))
    assert images.classes == ("cat (2)", "cat", "dog") and labels(images)[0] == [0, 1, 0]
    assert any("class 'cat' is listed again, and is 'cat (2)' here" in line for line in images.said)


@pytest.mark.parametrize("without", [("annotations",), ("annotations", "categories")])
def test_without_annotations_there_are_no_labels(folder: Path, without: tuple[str, ...]) -> None:
    content = {key: value for key, value in document(*FILES).items() if key not in without}
    data = coco(write(folder / "images/x.json", content))
    images = sets.open_train(data)
    assert names(images) == list(FILES) and images.labels is None and images.classes == ()
    for wanted in (data, replace(data, holdout=0.5), replace(data, val=data.train)):
        with pytest.raises(DataError, match=r"no images to evaluate on|too few labelled images|have no labels"):
            sets.open_labelled(wanted)


def test_train_and_val(folder: Path) -> None:
    save(folder / "val/v.png")
    train = coco(write(folder / "images/t.json", document(*FILES)))
    turned = document("v.png", categories=[{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}])
    data = replace(train, val=Part(annotations=write(folder / "val/v.json", turned)))
    one, two = sets.open_labelled(data)
    assert one.classes == two.classes == ("cat", "dog") and labels(two) == [[1, 1]]
    turned["annotations"].pop()
    write(folder / "val/v.json", turned)
    assert labels(sets.open_labelled(data)[1]) == [[1, 0]], "columns by name"
    for names_of_val, alone in (
        (("cat", "dog", "owl"), "'owl' is one of the 3 of the val"),
        (("cat",), "'dog' is one"),
    ):
        categories = [{"id": number, "name": name} for number, name in enumerate(names_of_val)]
        write(folder / "val/v.json", document("v.png", categories=categories, annotations=[]))
        with pytest.raises(DataError, match=alone):
            sets.open_labelled(data)
        report = list(check.examine(data, True, lambda done, total: None))[1]
        assert "both must name the same classes" in report.error and not report.good


def test_val_images_lie_with_those_of_train(folder: Path) -> None:
    data = coco(write(folder / "t/t.json", document("a.png")), str(folder / "images"))
    data = replace(data, val=Part(annotations=write(folder / "v/v.json", document("b.png"))))
    assert [images.root for images in sets.open_labelled(data)] == [folder / "images"] * 2


def test_images_held_out(folder: Path) -> None:
    every = [Path(save(folder / f"images/{n}.png")).name for n in range(20)]
    data = coco(write(folder / "images/x.json", document(*every)), holdout=0.2)
    train, val = sets.open_labelled(data)
    assert len(val) == 4 and {*names(train), *names(val)} == {*every} and train.classes == val.classes == ("cat", "dog")
    write(folder / "images/x.json", document(*every[::-1]))
    assert {*names(sets.open_val(data))} == {*names(val)}, "whatever the order"
    write(folder / "valid/v.json", document("a.png"))
    with pytest.raises(DataError, match=r"is there to evaluate on; leave data\.holdout out"):
        sets.open_train(Data(name="coco", root=str(folder), holdout=0.2))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["images"][1].update(file_name="../b.png"), r"file name '\.\./b\.png' \(image 2\) leaves"),
        (lambda d: d["images"][1].update(file_name="x/../../b.png"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="..\\b.png"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="a\0.png"), "leaves the folder"),
        (lambda d: d["images"][1].update(file_name="C:\\b.png"), "is a path of Windows"),
        (lambda d: d["images"][1].update(file_name=""), "is no file name"),
        (lambda d: d["images"][1].update(id="1.0"), "image id 1 is listed twice"),
        (lambda d: d["images"][1].update(file_name="./a.png"), r"file '.*/images/a\.png' is listed twice"),
        (lambda d: d["images"][1].update(id=1.5), "an image without id and file_name"),
        (lambda d: d["images"][1].update(id=True), "an image without id and file_name"),
        (lambda d: d["images"].clear(), "list of images is empty"),
        (lambda d: d.pop("images"), "no list named 'images'"),
        (lambda d: d.update(annotations={}), "no list named 'annotations'"),
        (lambda d: d.pop("categories"), "an annotation of unknown category 7"),
        (lambda d: d["annotations"][0].update(image_id=77), "an annotation of unknown image 77"),
        (lambda d: d["annotations"][0].pop("category_id"), "an annotation without image_id and category_id"),
        (lambda d: d["categories"][0].update(id=3.0), "category id 3 is listed twice"),
        (lambda d: d["categories"][0].pop("name"), "a category without id and name"),
        (lambda d: [image.update(file_name=f"gone{image['id']}") for image in d["images"]],
         r"gone1 does not exist, nor the next ones; .*say where they lie with data\.train\.images=FOLDER"),
    ],
)  # fmt: skip
def test_contradictions(folder: Path, edit: Any, message: str) -> None:
    content = document(*FILES)
    edit(content)
    data = coco(write(folder / "images/x.json", content))
    with pytest.raises(DataError, match=message) as error:
        sets.open_train(data)
    assert str(folder / "images/x.json") in str(error.value) and "archive" not in str(error.value)


def test_what_is_not_said(folder: Path) -> None:
    for data, message in (
        (Data(name="coco"), r"data=coco: it needs data\.root=FOLDER"),
        (Data(name="coco", root=str(folder / "images")), r"data=coco: .*images holds no file of annotations"),
        (coco(str(folder / "gone.json")), r"gone\.json is no file; say which with data\.train\.annotations=FILE"),
        (coco(write(folder / "x.json", document(*FILES)), str(folder / "gone")), r"gone is no folder; say where with"),
        (Data(name="coco", train=Part(images=(str(folder / "images"),))), r"data\.train\.annotations=FILE says which"),
    ):
        with pytest.raises(DataError, match=message):
            sets.check_root(data)
    (folder / "list.json").write_text("[]")
    with pytest.raises(DataError, match=r"an object at the top is expected, got \[\]\ncorrect it, or export it again"):
        sets.open_train(coco(str(folder / "list.json")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(name="coco2014", train=Part(images=("a",))), r"data\.train\.images goes with data=folder, list or coco"),
        (Data(name="toy", val=Part(images=("a",))), r"data\.val\.images goes with data=list or coco, and this is"),
        (Data(name="folder", val=Part(images=("a",))), r"data\.val\.images goes with data=list or coco"),
        (Data(name="list", train=Part(annotations="a")), r"data\.train\.annotations goes with data=coco"),
        (Data(name="list", root="a", train=Part(images=("b",))), r"data\.root=a and data\.train\.images both say"),
        (Data(name="coco2017", holdout=0.2), r"data\.holdout=0\.2 goes with data=list or coco"),
        (Data(name="list", val=Part(images=("a",)), holdout=0.2), r"data\.val\.images names some; leave one"),
        (Data(name="list", holdout=1.0), r"data\.holdout=1\.0 must be from 0 to below 1"),
        (Data(name="list", separator=""), r"data\.separator must be text"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_together(data: Data, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(replace(Config(), data=data))
