"""Objects of files in COCO's format that cannot be: each is refused in a sentence with its file and id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from golang.data.objects import sets
from golang.errors import DataError
from tests.unit.test_objects import COUNTS, annotation, document, write

WRONG = [
    ({"bbox": [1, 4, 0, 3]}, "its box x 1, y 4, width 0, height 3 is empty"),
    ({"bbox": [3, 4, -2, 3]}, "its box x 3, y 4, width -2, height 3 has a negative side"),
    ({"bbox": [10, 4, 2, 3]}, "its box .* lies outside the image of 10 × 8"),
    ({"bbox": [-6, 4, 6, 3]}, "lies outside the image"),
    ({"bbox": [1, 4, 11, 3]}, "its box .* ends 2 pixels outside the image of 10 × 8"),
    ({"bbox": [1, 4, 2]}, "it has no box of four numbers"),
    ({"bbox": [1, 4, "2", 3]}, "it has no box of four numbers"),
    ({"bbox": [1, 4, float("nan"), 3]}, "it has no box of four numbers"),
    ({"bbox": None}, "it has no box of four numbers"),
    ({"bbox": [1, 4, float("inf"), 3]}, "it has no box of four numbers"),
    ({"id": 102}, "an annotation before it has the same id"),
    ({"iscrowd": 2}, "its iscrowd is 2, neither 0 nor 1"),
    ({"iscrowd": "yes"}, "its iscrowd is 'yes', neither 0 nor 1"),
    ({"segmentation": [[1, 4, 3, 4, float("nan"), 7]]}, "a corner of its mask is no finite number"),
    ({"segmentation": [[1, 4, 3, 4, 3, 7], [1, 4, 3, 4, float("-inf"), 7]]}, "a corner of its mask is no finite"),
    ({"segmentation": [[1, 4, 3, 4]]}, "a polygon of its mask has 2 points, not three"),
    ({"segmentation": [[1, 4, 3, 4, 3, 7], [1, 4, 3, 4, 3]]}, "a polygon of its mask has 5 numbers"),
    ({"segmentation": [[]]}, "a polygon of its mask has 0 points"),
    ({"segmentation": [1, 4, 3, 4, 3, 7]}, "is neither a list of polygons nor run lengths"),
    ({"segmentation": [[1, 4, 3, 4, "3", 7]]}, "is neither a list of polygons nor run lengths"),
    ({"segmentation": [[1, 4, 3, 4, 3, 7], [1, 4, 3, 4, "3", 7]]}, "is neither a list of polygons nor run lengths"),
    ({"segmentation": "mask.png"}, "is neither a list of polygons nor run lengths"),
    ({"segmentation": 0}, "is neither a list of polygons nor run lengths"),
    ({"segmentation": {"counts": COUNTS, "size": [10, 8]}}, r"its mask is of size \[10, 8\], and the image's height"),
    ({"segmentation": {"counts": COUNTS, "size": [8]}}, r"its mask is of size \[8\]"),
    ({"segmentation": {"counts": [12, 3, 5], "size": [8, 10]}}, "its mask has 20 pixels, and the image 80"),
    ({"segmentation": {"counts": [90, -10], "size": [8, 10]}}, "counts of its segmentation are no run lengths"),
    ({"segmentation": {"counts": "\u00e4", "size": [8, 10]}}, "counts of its segmentation are no run lengths"),
    ({"segmentation": {"size": [8, 10]}}, "counts of its segmentation are no run lengths"),
]


@pytest.mark.parametrize(("fault", "message"), WRONG, ids=[str(fault)[:40] for fault, _ in WRONG])
def test_an_object_that_cannot_be(tmp_path: Path, fault: dict[str, Any], message: str) -> None:
    content = document()
    content["annotations"].append(annotation("k7", 30, **fault))
    content["annotations"].append(annotation(104, 10, bbox=[0, 0, 0, 0]))
    data = write(tmp_path, content)
    said = rf"train\.json: annotation {fault.get('id', 'k7')!r} \(30\.png\): .*{message}"
    with pytest.raises(DataError, match=said) as caught:
        sets.open_objects(data, "train")
    assert "1 more objects" in str(caught.value) and "correct it" in str(caught.value)
    objects, faults = sets.read_objects(data, "train")
    assert len(faults) == 2 and objects.offsets.tolist() == [0, 1, 1, 3], "the others are whole"


def test_a_corner_past_what_a_float_holds(tmp_path: Path) -> None:
    """Which is no NaN in the file's text, and among lists that are taken as one."""
    content = document()
    content["annotations"][0]["segmentation"] = [[1, 4, 3, 4, 3, 7]]
    content["annotations"] += [annotation(7, 10, segmentation=[[1, 4, 3, 4, "far", 7]]), annotation(8, 10)]
    data = write(tmp_path, content)
    path = tmp_path / "train.json"
    path.write_text(path.read_text().replace('"far"', "1e999"))
    with pytest.raises(DataError, match=r"annotation 7 \(10\.png\): a corner of its mask is no finite number\n"):
        sets.open_objects(data, "train")


def test_annotations_of_nothing_that_is_listed(tmp_path: Path) -> None:
    for fault, message in (
        ({"image_id": 77}, "an annotation of unknown image 77, number 4 of the list"),
        ({"category_id": 4}, r"an annotation of unknown category 4 \(image 30\), number 4 of the list"),
    ):
        content = document()
        content["annotations"].append(annotation("k7", 30) | fault)
        with pytest.raises(DataError, match=rf"train\.json: {message}"):
            sets.open_objects(write(tmp_path, content), "train")
