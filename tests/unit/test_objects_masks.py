"""Masks, bit for bit as COCO's own tools decode them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from golang.config import Data, Part
from golang.data.objects import sets
from golang.data.objects.masks import compressed, filled
from golang.data.objects.objects import Objects
from golang.data.toy.truth import run_lengths
from golang.errors import DataError

WIDTH, HEIGHT = 61, 47


def read(folder: Path, shapes: list[Any]) -> Objects:
    """An image with an object for each of `shapes`, as a file has them."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 1, "segmentation": shape}
            for n, shape in enumerate(shapes)
        ],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return sets.open_objects(Data(name="coco", train=Part(annotations=str(folder / "a.json"))), "train")


def polygon(rng: np.random.Generator, decimals: int) -> list[float]:
    """From a triangle to 40 corners, some past the border; decimals as COCO has them, on the edges of fifths too."""
    corners = rng.uniform(-4, 1.1 * WIDTH, (int(rng.integers(3, 40)), 2)).round(decimals)
    return corners.ravel().tolist()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools, with NumPy 2
def test_polygons_are_filled_as_cocos_tools_do(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    shapes = [[polygon(rng, n % 4) for _ in range(1 + n % 3)] for n in range(300)]
    masks = read(tmp_path, shapes).masks(0)
    for shape, found in zip(shapes, masks, strict=True):
        expected = mask.decode(mask.merge(mask.frPyObjects(shape, HEIGHT, WIDTH)))
        assert np.array_equal(found, expected.astype(bool))
    assert 0.01 < masks.mean() < 0.9


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", " :\t")], ids=["tight", "plain", "wide"])
def test_a_whole_file_is_read_as_cocos_tools_read_it(tmp_path: Path, separators: tuple[str, str]) -> None:
    pytest.importorskip("faster_coco_eval")
    coco, mask = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(3)
    images = [{"id": int(n), "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in rng.permutation(9)]
    for one in images:
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / one["file_name"])
    annotations: list[dict[str, Any]] = []
    for number in range(120):
        coded = mask.encode(np.asfortranarray(rng.random((HEIGHT, WIDTH)) < 0.1))
        shape: Any = {"size": coded["size"], "counts": coded["counts"].decode()}
        if number % 5 == 1:
            shape = {"counts": run_lengths(mask.decode(coded).astype(bool)), "size": coded["size"]}
        elif number % 5 > 1:
            shape = [polygon(rng, 2) for _ in range(1 + number % 2)]
        box = [*rng.uniform(0, 20, 2).round(2).tolist(), *rng.uniform(1, 20, 2).round(2).tolist()]
        entry = {
            "segmentation": shape, "area": float(rng.uniform(1, 99)), "iscrowd": int(number % 7 == 0), "id": number + 1,
            "image_id": int(rng.integers(0, 9)), "category_id": int(rng.choice([2, 5])), "bbox": box,
        }  # fmt: skip
        annotations.append({key: entry[key] for key in rng.permutation(list(entry)).tolist()})
    annotations = [annotations[n] for n in rng.permutation(120)]
    file = tmp_path / "a.json"
    content = {"annotations": annotations, "images": images, "categories": [{"id": n, "name": f"{n}"} for n in (2, 5)]}
    file.write_text(json.dumps(content, separators=separators))
    theirs = coco.COCO(str(file))
    ours = sets.open_objects(Data(name="coco", train=Part(annotations=str(file))), "train")
    assert ours.ids.tolist() == [one["id"] for one in images]
    for row, key in enumerate(ours.ids.tolist()):
        own = theirs.imgToAnns[key]
        span = slice(ours.offsets[row], ours.offsets[row + 1])
        corners = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in own)]
        assert ours.boxes[span].tolist() == corners and ours.areas[span].tolist() == [one["area"] for one in own]
        assert ours.ignored[span].tolist() == [bool(one["iscrowd"]) for one in own]
        assert [("2", "5")[kind] for kind in ours.classes[span]] == [str(one["category_id"]) for one in own]
        for one, found in zip(own, ours.masks(row), strict=True):
            assert np.array_equal(found, theirs.annToMask(one).astype(bool))


def test_run_lengths_are_those_of_cocos_tools(tmp_path: Path) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    truths = [rng.random((HEIGHT, WIDTH)) < share for share in (0, 0.02, 0.5, 0.9, 1)]
    blobs = np.zeros((HEIGHT, WIDTH), dtype=bool)
    blobs[3:40, 20:60] = True
    coded = [mask.encode(np.asfortranarray(truth)) for truth in (*truths, blobs)]
    shapes: list[Any] = [{"size": one["size"], "counts": one["counts"].decode()} for one in coded]
    shapes += [{"size": [HEIGHT, WIDTH], "counts": run_lengths(truth)} for truth in (*truths, blobs)]
    for truth, found in zip((*truths, blobs) * 2, read(tmp_path, shapes).masks(0), strict=True):
        assert np.array_equal(found, truth)


def test_the_compressed_form_by_hand() -> None:
    """Counts 12, 3, 65, 5: "<" is 12; "3" is 3; 65 = 1 + 2 · 32 is 1 with "more follows" (33, "Q") and 2 ("2"); the
    fourth is 5 − 3 = 2. A difference of −1 is 31, whose fifth bit is the sign: chr(48 + 31) is "O"."""
    assert compressed("<3Q22").tolist() == [12, 3, 65, 5]
    assert compressed("<3Q2O").tolist() == [12, 3, 65, 2]
    for text in ("", "Q", "!", "~", "\u00e4", "Q" * 9 + "1"):
        with pytest.raises(ValueError):
            compressed(text)


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 6), (7, 4)])
def test_run_lengths_there_and_back(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    for share in (0, 0.3, 0.7, 1):
        mask = rng.random(shape) < share
        counts = run_lengths(mask)
        assert sum(counts) == mask.size and 0 not in counts[1:]
        assert np.array_equal(filled(np.array(counts, dtype=np.int32), *shape), mask)


def test_without_the_package_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core", None)
    objects = read(tmp_path, [[[1, 1, 5, 1, 5, 5]]])
    assert objects.of(0).boxes.tolist() == [[0, 0, 5, 5]], "boxes need none"
    with pytest.raises(DataError, match="pip install faster-coco-eval"):
        objects.masks(0)


@pytest.mark.parametrize("forged", [0, 1, 2])
def test_a_number_that_a_file_puts_in_a_masks_place_is_none(tmp_path: Path, forged: int) -> None:
    """The reader marks where lists of polygons stood by numbers of its own."""
    triangle = [[1, 1, 5, 1, 5, 5]]
    with pytest.raises(DataError, match="is neither a list of polygons nor run lengths"):
        read(tmp_path, [forged, triangle, triangle])
