"""`data=list`: CSV, JSON lines and plain lists, several of them, folders beside them, splits, and images held out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from golang.config import Data, Part
from golang.data import sets
from golang.data.images import ImageSet
from golang.data.readers.list import Lists
from golang.errors import DataError

NAMES = [f"images/{n}.png" for n in range(6)]
U = 255


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for n, name in enumerate(NAMES):
        Image.new("RGB", (4, 4), (n, n, n)).save(tmp_path / name)
    return tmp_path


def put(path: Path, *lines: str, **how: str) -> str:
    path.write_text("\n".join(lines) + "\n", **how)
    return str(path)


def of(*sources: str, **more: object) -> Data:
    return replace(Data(name="list", train=Part(images=sources)), **more)


def names(images: ImageSet) -> list[str]:
    return [images.path(index).relative_to(images.root).as_posix() for index in range(len(images))]


def labels(images: ImageSet) -> list[list[int]]:
    assert images.labels is not None and images.labels.dtype == np.uint8
    return images.labels.tolist()


@pytest.mark.parametrize(
    "lines",
    [
        ["image,labels", "images/0.png,cat;dog", "images/1.png,", "images/2.png, dog ; owl"],
        ["IMAGE;Labels", 'images/0.png;"cat;dog"', "images/1.png;", 'images/2.png;"dog;owl"'],
        ["file_name\ttags", "images/0.png\tdog;cat", "images/1.png\t", "images/2.png\tdog;owl"],
        ["id,File Name,classes,width", "7,./images/0.png,cat;dog,4", "8,images//1.png,;,4", "9,images/2.png,owl;dog,4"],
        ["labels , path", "cat;dog,images\\0.png", ",images/1.png", '"dog;owl","images/2.png"'],
        ["\ufefffilename,label", "images/0.png,cat;dog", "", "images/1.png,", ",", "images/2.png,dog;owl;dog"],
        ['{"image": "images/0.png", "labels": ["cat", "dog"]}', '{"image": "images/1.png", "labels": []}',
         '{"labels": "dog;owl", "image": "images/2.png", "width": 4}'],
        ["image,cat,dog,owl", "images/0.png,1,1,0", "images/1.png,0,0,0", "images/2.png,0,1,1"],
        ["path;cat;dog;owl", "images/0.png;true;TRUE;false", "images/1.png;0.0;0;0", "images/2.png;False;1.0;1"],
        [",image,cat,dog,owl", "0,images/0.png,1,1,0", "1,images/1.png,0,0,0", "2,images/2.png,0,1,1"],
    ],
)  # fmt: skip
def test_a_list(folder: Path, lines: list[str]) -> None:
    for ending in ("\n", "\r\n"):
        for name in ("l.csv", "l.txt"):
            (folder / name).write_text(ending.join(lines), newline="")
            images = sets.open_train(Data(name="list", root=str(folder / name)))
            assert images.root == folder and names(images) == NAMES[:3] and images.upright
            assert images.classes == ("cat", "dog", "owl") and labels(images) == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
            assert images.load(2).getpixel((0, 0)) == (2, 2, 2)


def test_a_path_a_line(folder: Path) -> None:
    (folder / "images/# a, b=c.png").write_bytes((folder / NAMES[0]).read_bytes())
    lines = ["images/3.png", "", f"  {folder}/images/1.png", "images/# a, b=c.png"]
    images = sets.open_train(of(put(folder / "l.txt", *lines)))
    assert names(images) == ["images/3.png", "images/1.png", "images/# a, b=c.png"]
    assert images.labels is None and images.classes == ()


def test_what_is_unknown(folder: Path) -> None:
    columns = put(folder / "c.csv", "image,owl,cat", "images/0.png,1,", "images/1.png,nan,0")
    images = sets.open_train(of(columns))
    assert images.classes == ("owl", "cat") and labels(images) == [[1, U], [U, 0]], "in the order of the header"
    lines = [json.dumps({"image": NAMES[0], "labels": ["cat"]}), json.dumps({"image": NAMES[1]})]
    images = sets.open_train(of(put(folder / "j.jsonl", *lines, json.dumps({"image": NAMES[2], "labels": None}))))
    assert labels(images) == [[1], [U], [U]], "nothing said is not nothing there"
    assert sets.open_train(of(columns), labelled=False).labels is None


def test_several_lists_and_folders(folder: Path) -> None:
    (folder / "more/deep").mkdir(parents=True)
    for name in ("more/deep/x.png", "more/y.JPG"):
        Image.new("RGB", (4, 4)).save(folder / name)
    (folder / "more/notes.txt").touch()
    one = put(folder / "one.csv", "image,owl", "images/0.png,1", "images/1.png,0")
    two = put(folder / "images/two.csv", "image,labels", "4.png,cat", "5.png,10", "3.png,9")
    images = sets.open_train(of(one, two, str(folder / "more")))
    assert images.root == folder
    assert names(images) == [NAMES[0], NAMES[1], NAMES[4], NAMES[5], NAMES[3], "more/deep/x.png", "more/y.JPG"]
    assert images.classes == ("owl", "9", "10", "cat"), "of headers, then by name, numbers by value"
    expected = [[1, U, U, U], [0, U, U, U], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [U] * 4, [U] * 4]
    assert labels(images) == expected and images.passed_over == {".txt": 1}
    alone = sets.open_train(of(str(folder / "more")))
    assert alone.root == folder / "more" and alone.labels is None


def test_a_root_that_holds_what_a_list_names_elsewhere(folder: Path) -> None:
    (folder / "lists").mkdir()
    listed = put(folder / "lists/l.csv", "image,labels", *(f"{folder}/{name},cat" for name in NAMES[:2]))
    images = sets.open_train(of(listed))
    assert images.root == folder / "images" and names(images) == ["0.png", "1.png"]


def test_a_column_of_splits(folder: Path) -> None:
    rows = zip(NAMES, ("train", "Val", "test", "training", "validation", ""), "aabbcd", strict=True)
    data = of(put(folder / "l.csv", "image,split,labels", *(f"{name},{split},{label}" for name, split, label in rows)))
    train, val = sets.open_labelled(data)
    assert names(train) == [NAMES[0], NAMES[3]] and names(val) == [NAMES[1], NAMES[4]]
    assert train.classes == val.classes == ("a", "b", "c"), "of the images that are used, train's and val's"
    assert train.passed_over == {"of split 'test'": 1, "without a split": 1}
    assert labels(val) == [[1, 0, 0], [0, 0, 1]]
    other = put(folder / "val.csv", "image,labels", f"{NAMES[5]},b")
    train, val = sets.open_labelled(replace(data, val=Part(images=(other,))))
    assert names(train) == [NAMES[0], NAMES[3]] and names(val) == [NAMES[5]], "what is named for it goes first"
    assert train.passed_over["of split 'val'"] == 2 and val.classes == ("a", "b")


def test_lists_for_train_and_val(folder: Path) -> None:
    train = put(folder / "t.csv", "image,cat,dog", "images/0.png,1,0", "images/1.png,0,1")
    val = put(folder / "v.csv", "image,dog,cat", "images/2.png,1,0")
    one, two = sets.open_labelled(of(train, val=Part(images=(val,))))
    assert one.classes == two.classes == ("cat", "dog") and labels(two) == [[0, 1]]
    assert two.said == []
    val = put(folder / "v.csv", "image,labels", "images/2.png,dog", "images/1.png,cat")
    two = sets.open_labelled(of(train, val=Part(images=(val,))))[1]
    assert labels(two) == [[0, 1], [1, 0]]
    said = f"1 images to evaluate on are trained on as well: {val} line 3, and {train} line 3"
    assert two.said == [said]


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (["image,labels", "images/0.png,cat"], ["image,labels", "images/1.png,", "images/2.png,catt"],
         r"v\.csv line 3: label 'catt' is no class of the training images"),
        (["image,cat", "images/0.png,1"], ["image,cat,dog", "images/1.png,1,1"], r"v\.csv: column 'dog' is no class"),
        (["image,cat,dog", "images/0.png,1,1"], ["image,cat", "images/1.png,1"], r"v\.csv: no column 'dog', a class"),
        (["image", "images/0.png"], ["image,labels", "images/1.png,cat"], r"the training images in .* have no labels"),
        (["image,labels", "images/0.png,cat"], ["image", "images/1.png"], r"validation images in .* have no labels"),
    ],
)  # fmt: skip
def test_train_and_val_that_disagree(folder: Path, train: list[str], val: list[str], message: str) -> None:
    data = of(put(folder / "t.csv", *train), val=Part(images=(put(folder / "v.csv", *val),)))
    assert len(sets.open_train(data)) == 1, "training does not depend on it"
    with pytest.raises(DataError, match=message):
        sets.open_labelled(data)


def test_images_held_out(folder: Path) -> None:
    every = [f"images/{n}.png" for n in range(40)]
    for name in every:
        Image.new("RGB", (2, 2)).save(folder / name)
    rows = [f"{name},{'ab'[n % 2]}" for n, name in enumerate(every)]

    def halves(rows: Sequence[str], share: float) -> tuple[set[str], set[str]]:
        data = of(put(folder / "l.csv", "image,labels", *rows), holdout=share)
        train, val = sets.open_labelled(data)
        assert train.classes == val.classes == ("a", "b")
        return set(names(train)), set(names(val))

    train, val = halves(rows, 0.2)
    assert train | val == set(every) and not train & val and len(val) == 8
    assert halves(rows[::-1], 0.2) == (train, val), "whatever the order"
    assert len(halves(rows, 0.001)[1]) == 1 and len(halves(rows, 0.999)[0]) == 1
    assert halves(rows, 0.5)[1] > val, "a larger share holds out the same and more"
    moved = folder.rename(folder.with_name(f"{folder.name} moved"))
    assert set(names(sets.open_val(of(str(moved / "l.csv"), holdout=0.5)))) > val, "wherever it lies"


def test_images_without_labels_are_not_held_out(folder: Path) -> None:
    listed = put(folder / "l.csv", "image,labels", f"{NAMES[0]},a", f"{NAMES[1]},b")
    data = of(listed, str(folder / "images"), holdout=0.5)
    assert len(sets.open_val(data)) == 1 and len(sets.open_train(data)) == 5
    with pytest.raises(DataError, match="no image to evaluate on"):
        sets.open_val(of(put(folder / "l.txt", *NAMES), holdout=0.5))
    split = put(folder / "s.csv", "image,labels,split", f"{NAMES[0]},a,train", f"{NAMES[1]},b,val")
    with pytest.raises(DataError, match=r"in its column split; leave data\.holdout=0\.5 out"):
        sets.open_train(of(split, holdout=0.5))


def test_an_image_that_is_named_again(folder: Path) -> None:
    images = sets.open_train(of(put(folder / "l.csv", "image,labels", "images/0.png,a", "./images/0.png,a")))
    assert names(images) == [NAMES[0]] and "1 lines name an image again" in images.said[0]
    assert "l.csv line 3, after" in images.said[0] and "l.csv line 2" in images.said[0]
    one = put(folder / "one.csv", "image,cat,dog", "images/0.png,1,", "images/1.png,,")
    two = put(folder / "two.csv", "image,dog", "images/0.png,0")
    assert labels(sets.open_train(of(one, two))) == [[1, 0], [U, U]], "one says what the other leaves open"
    for rows, message in (
        (
            ["image,labels", "images/0.png,a", "images/1.png,a", "images/0.png,b"],
            r"line 4: .*after .*line 2, with another",
        ),
        (["image,a", "images/0.png,1", "images/0.png,0"], r"line 3: .*after .*line 2, with another label \(a\)"),
        (["image,split", "images/0.png,train", "images/0.png,val"], r"line 3: .*cannot be an image to evaluate on and"),
    ):
        with pytest.raises(DataError, match=message):
            sets.open_train(of(put(folder / "l.csv", *rows)))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], r"l\.csv lists no image; write a path a line, or a header"),
        (["image,labels"], r"l\.csv lists no image"),
        (["images/0.png"], r"line 1: 'images/0\.png' names no column of images; begin with a header"),
        (["image,labels", "images/0.png"], r"line 2: it has 1 cells, and the header 2"),
        (["image;labels", "images/0.png;a;b"], r"line 2: it has 3 cells, and the header 2; quote a cell that has ';'"),
        (["image,labels", "", "images/0.png,a", ",a"], r"line 4: image '' is no file name"),
        (["image,labels", "../0.png,a"], r"line 2: image '\.\./0\.png' leaves the folder"),
        (["image,labels", "a/../../0.png,a"], r"line 2: .* leaves the folder"),
        (["image,labels", "..\\0.png,a"], r"line 2: .* leaves the folder"),
        (["image,labels", "a\0.png,a"], r"line 2: .* leaves the folder"),
        (["image,labels", "C:\\x\\0.png,a"], r"line 2: .* is a path of Windows"),
        (["image,cat", "images/0.png,1", "images/1.png,2"], r"line 3: '2' in column 'cat' is none of 0, 1"),
        (["image,cat", "images/0.png,-1"], r"line 2: '-1' in column 'cat'"),
        (["image,path", "a,b"], r"line 1: image and path both name the images"),
        (["image,tags,labels", "a,b,c"], r"line 1: tags and labels both name the labels"),
        (["image,cat,cat", "a,1,1"], r"line 1: two columns are named 'cat'"),
        (["image,labels", '"images/0.png,a'], r"line 2: unexpected end of data; correct its quotes"),
        (["image,labels", '"a"b,c'], r"line 2: .* correct its quotes"),
        (['{"image": "images/0.png"}', '{"image": "images/1.png"'], r"line 2: it is no JSON \(Expecting"),
        (['{"image": "images/0.png"}', "[1]"], r"line 2: it is no object"),
        (['{"image": "images/0.png"}', "[" * 100_000], r"line 2: it is no JSON"),
        (['{"picture": "images/0.png"}'], r"line 1: none of picture names the image"),
        (['{"image": 3}'], r"line 1: image 3 is no file name"),
        (['{"image": "images/0.png", "labels": {"cat": 1}}'], r"line 1: its labels are \{'cat': 1\}, not a list"),
        (['{"image": "images/0.png", "labels": [true]}'], r"line 1: its labels are \[True\], not a list"),
        (["image,labels", "images/gone.png,a"], r"gone\.png does not exist, nor the next ones; .* line 2 names it"),
        (["image,split", "images/0.png,test"], r"has no image to train on"),
    ],
)  # fmt: skip
def test_errors_name_file_and_line(folder: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        sets.open_train(of(put(folder / "l.csv", *lines)))
    assert str(folder / "l.csv") in str(error.value) and "\n" not in str(error.value)


def test_errors_of_the_file_itself(folder: Path) -> None:
    (folder / "l.csv").write_bytes("image,labels\nimages/0.png,grün\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"l\.csv line 2: its text is not UTF-8; save the list as UTF-8"):
        sets.open_train(of(str(folder / "l.csv")))
    os.mkfifo(folder / "pipe.csv")
    for name, message in (("gone.csv", "does not exist"), ("pipe.csv", "is no file")):
        with pytest.raises(DataError, match=rf"{name} {message}; a list is CSV with a header"):
            sets.check_root(of(str(folder / name)))
    with pytest.raises(DataError, match=r"data=list needs data\.root=LIST"):
        sets.check_root(Data(name="list"))


def test_no_images_to_evaluate_on(folder: Path) -> None:
    data = of(put(folder / "l.csv", "image,labels", "images/0.png,a"))
    assert Lists().splits_of(data) == ("train",)
    for attempt in (sets.open_val, lambda data: sets.check_root(data, ("val",))):
        with pytest.raises(
            DataError, match=r"no images to evaluate on: name some with data\.val\.images=.*data\.holdout"
        ):
            attempt(data)


def test_another_separator_and_one_missing_image(folder: Path) -> None:
    listed = put(folder / "l.csv", "image,labels", "images/0.png,a b|c", "images/gone.png,c")
    images = sets.open_train(of(listed, separator="|"))
    assert images.classes == ("a b", "c") and labels(images) == [[1, 1], [0, 1]], "a missing file is unreadable"
    assert images.sizes().tolist() == [(folder / NAMES[0]).stat().st_size, -1]
