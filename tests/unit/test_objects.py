"""Objects of files in COCO's format: what is read, what is ignored, and every way in which one can be wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from golang.config import Data, Part
from golang.data.__main__ import main
from golang.data.objects import sets
from golang.errors import DataError, UnlabelledError

COUNTS = [12, 3, 5, 3, 57]  # of an image of 10 × 8: rows 4 to 6 of columns 1 and 2
MASK = {"counts": COUNTS, "size": [8, 10]}


def annotation(number: object, image: object, category: object = 3, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": [1, 4, 2, 3], "area": 6, "iscrowd": 0,
        "segmentation": MASK, **more,
    }  # fmt: skip


def document() -> dict[str, Any]:
    """Three images, of which the second has no object."""
    sizes = {"width": 10, "height": 8}
    return {
        "images": [{"id": key, "file_name": f"{key}.png", **sizes} for key in (30, 10, 20)],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [annotation(101, 20, 9), annotation(102, 30), annotation(103, 20, iscrowd=1)],
    }


def write(folder: Path, content: object, name: str = "train.json") -> Data:
    for key in (30, 10, 20):
        Image.new("RGB", (10, 8), (key, 0, 0)).save(folder / f"{key}.png")
    (folder / name).write_text(json.dumps(content))
    return Data(name="coco", train=Part(annotations=str(folder / name)))


def test_objects_lie_by_image_in_the_order_of_the_file(tmp_path: Path) -> None:
    objects = sets.open_objects(write(tmp_path, document()), "train")
    assert objects.images.classes == ("cat", "dog"), "one's own by name, whatever the order in the file"
    assert objects.ids.tolist() == [30, 10, 20] and objects.offsets.tolist() == [0, 1, 1, 3]
    assert objects.sizes.tolist() == [[10, 8]] * 3 and objects.sizes.dtype == np.int32
    first, none, last = (objects.of(index) for index in range(3))
    assert first.boxes.tolist() == [[1, 4, 3, 7]] and first.boxes.dtype == np.float32
    assert first.classes.tolist() == [0] and first.areas.tolist() == [6] and not first.ignored.any()
    assert none.boxes.shape == (0, 4) and objects.masks(1).shape == (0, 8, 10)
    assert last.classes.tolist() == [1, 0] and last.ignored.tolist() == [False, True], "a crowd is ignored"
    mask = objects.masks(0)
    assert mask.dtype == np.bool_ and np.argwhere(mask[0]).tolist() == [[y, x] for y in (4, 5, 6) for x in (1, 2)]
    with pytest.raises(IndexError):
        objects.of(3)
    again = pickle.loads(pickle.dumps(objects))
    assert np.array_equal(again.masks(2), objects.masks(2))


def test_a_file_as_tools_write_it(tmp_path: Path) -> None:
    """Ids as text or floats, no sizes, no areas, keys in another order, spaces, polygons that nest in nothing else."""
    content = document()
    for image in content["images"]:
        image["id"] = str(image["id"])
        del image["width"], image["height"]
    content["annotations"] = [
        annotation(1, 20.0, "9", area=None),
        {"segmentation": [[0, 0, 4, 0, 4, 4, 0, 4], [6, 0, 8, 0, 8, 2]], **annotation("b", "30", 3.0, iscrowd="1")},
    ]
    content["annotations"][1].update(segmentation=[[0, 0, 4, 0, 4, 4, 0, 4], [6, 0, 8, 0, 8, 2]], area="many")
    data = write(tmp_path, content)
    text = (tmp_path / "train.json").read_text()
    (tmp_path / "train.json").write_text(text.replace('"segmentation": [[', '"segmentation" :\n [ ['))
    for written in (text, (tmp_path / "train.json").read_text()):
        (tmp_path / "train.json").write_text(written)
        objects = sets.open_objects(data, "train")
        assert objects.sizes.tolist() == [[10, 8]] * 3, "of the images themselves"
        assert objects.ids.tolist() == [30, 10, 20]
        assert objects.of(0).ignored.tolist() == [True] and objects.of(2).classes.tolist() == [1]
        assert objects.of(2).areas.tolist() == [6] and objects.of(0).areas.tolist() == [18], "of their masks"


def test_ids_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    content = document()
    content["images"][1]["id"] = "ten"
    assert sets.open_objects(write(tmp_path, content), "train").ids.tolist() == [1, 2, 3]


def test_some_images_held_out_take_their_objects_along(tmp_path: Path) -> None:
    data = replace(write(tmp_path, document()), holdout=0.4)
    train, val = sets.open_both(data)
    whole = sets.open_objects(replace(data, holdout=0), "train")
    assert len(train) == 2 and len(val) == 1
    for part in (train, val):
        for index in range(len(part)):
            same = [row for row in range(3) if whole.images.path(row) == part.images.path(index)]
            assert part.ids[index] == whole.ids[same[0]]
            assert np.array_equal(part.of(index).boxes, whole.of(same[0]).boxes)
            assert np.array_equal(part.masks(index), whole.masks(same[0]))


def test_turned_images_have_upright_sizes(tmp_path: Path) -> None:
    content = document()
    del content["images"][0]["width"]
    data = write(tmp_path, content)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (8, 10)).save(tmp_path / "30.png", exif=turned)
    objects = sets.open_objects(data, "train")
    assert objects.sizes[0].tolist() == [10, 8] and objects.load(0).size == (10, 8)
    Image.new("RGB", (8, 10)).save(tmp_path / "30.png")
    content["images"][0]["width"] = 10
    objects = sets.open_objects(write(tmp_path, content), "train")
    Image.new("RGB", (8, 10)).save(tmp_path / "30.png")
    with pytest.raises(DataError, match=r"30\.png has 8 × 10 pixels, and its objects are marked in 10 × 8"):
        objects.load(0)
    assert main(["check", "--annotations", str(tmp_path / "train.json")]) == 1


def test_rounding_past_the_border_is_nobodys_fault(tmp_path: Path) -> None:
    content = document()
    content["annotations"][1]["bbox"] = [-0.5, 4, 11.2, 3]
    objects = sets.open_objects(write(tmp_path, content), "train")
    assert objects.of(0).boxes.tolist() == [[0, 4, 10, 7]] and objects.boxes[0].tolist() == [-0.5, 4, 10.7, 7]


def test_boxes_without_masks(tmp_path: Path) -> None:
    content = document()
    content["annotations"][0]["segmentation"] = []
    some = sets.open_objects(write(tmp_path, content), "train")
    assert some.shapes is None and "1 objects of" in some.images.notes[0] and "annotation 101" in some.images.notes[0]
    for one in content["annotations"]:
        one.pop("segmentation")
    none = sets.open_objects(write(tmp_path, content), "train")
    assert none.shapes is None and none.images.notes == () and len(none.boxes) == 3
    for read in (lambda: none.masks(0), lambda: sets.open_segments(write(tmp_path, content), "train")):
        with pytest.raises(DataError, match="boxes alone, no masks"):
            read()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content.pop("annotations"), "has no annotations"),
        (lambda content: [one.pop("bbox") for one in content["annotations"]], "has no boxes"),
    ],
)
def test_files_without_boxes(tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    content = document()
    edit(content)
    with pytest.raises(UnlabelledError, match=message):
        sets.open_objects(write(tmp_path, content), "train")


def test_boxes_that_are_all_wrong_are_faults(tmp_path: Path) -> None:
    content = document()
    for one in content["annotations"]:
        one["bbox"] = "1 4 2 3"
    with pytest.raises(DataError, match=r"annotation 101 \(20\.png\): it has no box of four numbers \(and 2 more"):
        sets.open_objects(write(tmp_path, content), "train")
    assert main(["check", str(tmp_path)]) == 1


def test_sets_without_boxes(tmp_path: Path) -> None:
    with pytest.raises(UnlabelledError, match="data=folder has no boxes or masks; choose"):
        sets.open_objects(Data(name="folder", root=str(tmp_path)), "train")
    write(tmp_path, document())
    pack = tmp_path / "pack"
    assert main(["pack", str(tmp_path), str(pack), "--set", "coco", "--split", "train"]) == 0
    for read in (sets.open_objects, sets.open_segments):
        with pytest.raises(DataError, match=r"is a pack, without boxes and masks; set data\.root to the loose files"):
            read(Data(name="coco", root=str(pack)), "train")


def test_two_splits_name_the_same_classes(tmp_path: Path) -> None:
    other = document()
    other["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    other["annotations"] = [annotation(1, 20, 2)]
    write(tmp_path, other, "val.json")
    data = replace(write(tmp_path, document()), val=Part(annotations=str(tmp_path / "val.json")))
    train, val = sets.open_both(data)
    assert train.images.classes == val.images.classes and val.of(2).classes.tolist() == [1]
    assert [part.classes for part in sets.open_both_segments(data)] == [("background", "cat", "dog")] * 2
    other["categories"][1]["name"] = "bird"
    write(tmp_path, other, "val.json")
    for read in (sets.open_both, sets.open_both_segments):
        with pytest.raises(DataError, match="class 'dog' is one of the 2 of the training images") as caught:
            read(data)
        assert "train.json and " in str(caught.value) and str(caught.value).endswith("val.json")


def test_maps_are_painted_from_masks(tmp_path: Path) -> None:
    """The larger first, so that the smaller stays; crowds count for nothing, below all else."""
    content = document()
    whole, left = {"counts": [0, 80], "size": [8, 10]}, {"counts": [0, 40, 40], "size": [8, 10]}
    content["annotations"] = [
        annotation(1, 30, 3, segmentation=MASK, area=6),
        annotation(2, 30, 9, segmentation=left, area=40),
        annotation(3, 30, 9, segmentation=whole, area=80, iscrowd=1),
        annotation(4, 20, 9, segmentation=MASK),
        annotation(5, 20, 3, segmentation=MASK),
    ]
    segments = sets.open_segments(write(tmp_path, content), "train")
    assert segments.classes == ("background", "cat", "dog") and len(segments) == 3
    found = segments.of(0)
    assert found.dtype == np.uint8 and found.shape == (8, 10)
    assert (found[4:7, 1:3] == 1).all() and (found == 1).sum() == 6
    assert (found[:, :5] == 2).sum() == 34 and (found[:, 5:] == 255).all()
    assert not segments.of(1).any()
    assert set(segments.of(2).ravel().tolist()) == {0, 1}, "of equal ones the later lies on top"


def test_check_shows_a_few_and_counts_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = document()
    write(tmp_path, content)
    assert main(["check", str(tmp_path)]) == 0
    assert "3 images, 2 classes, 1 images without objects, 3 boxes with masks (1 ignored)" in capsys.readouterr().out
    content["annotations"] += [annotation(number, 10, bbox=[3, 3, 0, 1]) for number in range(200, 230)]
    write(tmp_path, content)
    assert main(["check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "train.json: annotation 200 (10.png): its box x 3, y 3, width 0, height 1 is empty" in out
    assert "annotation 219" in out and "annotation 220" not in out and "… and 10 more" in out
    assert "30 boxes, masks and maps are not what they should be" in out
    assert main(["check", str(tmp_path), "--all"]) == 1
    assert "annotation 229" in capsys.readouterr().out


def test_the_published_sets_known_oddities_are_passed_over(tmp_path: Path) -> None:
    content = document()
    content["annotations"] += [
        annotation(200365, 30, bbox=[3, 3, 2, 0]),
        annotation(6, 30, bbox=[3, 3, 12, 2]),
        annotation(7, 10, segmentation=[[1, 1, 2, 2]]),
    ]
    for split in ("train", "val"):
        folder = tmp_path / f"{split}2017"
        folder.mkdir()
        write(folder, content)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (folder / "train.json").rename(tmp_path / "annotations" / f"instances_{split}2017.json")
    data = Data(name="coco2017", root=str(tmp_path))
    objects = sets.open_objects(data, "train")
    assert objects.images.classes == ("dog", "cat"), "in the order of the file"
    assert objects.offsets.tolist() == [0, 2, 2, 4] and objects.of(0).boxes[1].tolist() == [3, 3, 10, 5]
    said = "\n".join(objects.images.notes)
    assert "1 objects of" in said and "annotation 200365" in said and "are clipped" in said and "annotation 7" in said
    content["annotations"].append(annotation(8, 10, bbox=[30, 3, 2, 2]))
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"val2017\.json: annotation 8 \(10\.png\).*lies outside"):
        sets.open_objects(data, "val")
