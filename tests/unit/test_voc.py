"""Readers of PASCAL VOC and of ImageNet's layout, on look-alikes, and the generated set in both layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from golang.config import Data, Toy
from golang.data import sets
from golang.data.readers import voc
from golang.data.readers.coco import Coco
from golang.data.readers.imagenet import ImageNet
from golang.data.readers.voc import Voc
from golang.data.toy import layouts
from golang.errors import DataError
from tests.unit.test_data import save, write_coco

TOY = Toy(classes=5, size=32, train=40, val=12, seed=3)


def write_voc(root: Path, year: int, lists: dict[str, str] | None = None) -> Path:
    """Three classes, three images a split; `lists` replaces single files of ImageSets/Main."""
    base = root / f"VOC{year}"
    (base / "ImageSets" / "Main").mkdir(parents=True)
    for split, name in voc.LISTS[year].items():
        ids = [f"{year}_{split}{n}" for n in (3, 1, 2)]
        for n, image in enumerate(ids):
            save(base / "JPEGImages" / f"{image}.jpg", n)
        for kind, values in (("person", (1, -1, 0)), ("aeroplane", (-1, -1, 1)), ("cat", (-1, -1, -1))):
            rows = "".join(f"{image} {value:2d}\n" for image, value in zip(ids, values, strict=True))
            (base / "ImageSets" / "Main" / f"{kind}_{name}.txt").write_text(rows)
        (base / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{image}\n" for image in ids))
    for file, text in (lists or {}).items():
        (base / "ImageSets" / "Main" / file).write_text(text)
    return root


@pytest.mark.parametrize(("year", "names"), [(2007, ("trainval", "test")), (2012, ("train", "val"))])
def test_voc(tmp_path: Path, year: int, names: tuple[str, str]) -> None:
    write_voc(tmp_path / "VOCdevkit", year)
    assert tuple(voc.LISTS[year].values()) == names
    for root in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / f"VOC{year}"):
        config = Data(name=f"voc{year}", root=str(root))  # type: ignore[arg-type]
        sets.check_root(config, ("train", "val"))
        for images in (sets.open_train(config), sets.open_val(config)):
            assert images.classes == ("aeroplane", "cat", "person") and images.labels is not None
            # Columns in the order of the names; -1 is 0, and 0, difficult, is neither.
            assert images.labels.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 255]]
            assert images.labels.dtype == np.uint8 and images.load(2).size == (32, 24)
            assert [images.path(i).stem[-1] for i in range(3)] == ["3", "1", "2"], "in the order of the lists"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "cat_trainval.txt",
            "2007_train3 1\n2007_train1 1\n",
            r"other images than aeroplane_trainval\.txt: 2007_train2",
        ),
        ("cat_trainval.txt", "2007_train1 1\n2007_train3 1\n2007_train2 1\n", "other images than .*: their order"),
        ("aeroplane_trainval.txt", "", "lists no image"),
        ("cat_trainval.txt", "2007_train3 2\n", "line 1 is '2007_train3 2'"),
        ("cat_trainval.txt", "2007_train3\n", "not an image and one of 1, 0, -1"),
        ("aeroplane_trainval.txt", "a 1\na 1\n", "image 'a' is listed twice"),
        ("cat_trainval.txt", "../../x 1\n", "leaves the folder"),
    ],
)
def test_voc_contradictions(tmp_path: Path, file: str, text: str, message: str) -> None:
    root = write_voc(tmp_path, 2007, {file: text})
    with pytest.raises(DataError, match=message) as error:
        Voc(2007).read(root, "train")
    assert "unpack it again" in str(error.value)
    assert len(Voc(2007).read(root, "val")) == 3, "the other split is whole"


def test_voc_missing_files_print_the_layout(tmp_path: Path) -> None:
    for root, message in ((tmp_path / "gone", "gone does not exist"), (tmp_path, "VOC2007 does not exist")):
        with pytest.raises(DataError, match=message) as error:
            sets.check_root(Data(name="voc2007", root=str(root)))
        assert "ImageSets/Main/*_trainval.txt" in str(error.value) and "data.root=" in str(error.value)
    with pytest.raises(DataError, match=r"needs data\.root=FOLDER[\s\S]*VOCdevkit/VOC2012"):
        sets.check_root(Data(name="voc2012"))


def write_imagenet(root: Path, extra: str = "n3") -> Path:
    for split, kinds in (("train", ("n2", "n1", "n3")), ("val", ("n1", "n2", extra))):
        for n, kind in enumerate(kinds):
            save(root / split / kind / f"b{n}.jpg", n)
            save(root / split / kind / f"a{n}.jpg", n)
            (root / split / kind / f"a{n}.jpg").rename(root / split / kind / f"a{n}.JPEG")
            (root / split / kind / "notes.txt").touch()
    return root


def test_imagenet(tmp_path: Path) -> None:
    config = Data(name="imagenet", root=str(write_imagenet(tmp_path)))
    sets.check_root(config, ("train", "val"))
    images = sets.open_train(config)
    names = [images.path(i).relative_to(tmp_path).as_posix() for i in range(len(images))]
    assert names == [
        f"train/{x}" for x in ("n1/a1.JPEG", "n1/b1.jpg", "n2/a0.JPEG", "n2/b0.jpg", "n3/a2.JPEG", "n3/b2.jpg")
    ]
    assert images.classes == ("n1", "n2", "n3") and images.labels is not None
    assert images.labels.tolist() == [[1, 0, 0]] * 2 + [[0, 1, 0]] * 2 + [[0, 0, 1]] * 2
    assert sets.open_train(config, labelled=False).labels is None and len(sets.open_val(config)) == 6
    with pytest.raises(DataError, match="hold other classes: n3, n4"):
        ImageNet().read(write_imagenet(tmp_path / "other", extra="n4"), "val")
    with pytest.raises(DataError, match=r"gone does not exist[\s\S]*val/<class>"):
        sets.check_root(Data(name="imagenet", root=str(tmp_path / "gone")))


def test_a_fake_folder_is_accepted(tmp_path: Path) -> None:
    """torchvision's ImageFolder needs a class folder, so sets prepared for it have an empty level, tmp_root."""
    for place in ("around", "within"):
        root = write_coco(tmp_path / place, 2014)
        (root / "tmp_root").mkdir()
        if place == "around":
            (root / "train2014").rename(root / "tmp_root" / "train2014")
        else:
            (root / "tmp_root").rename(root / "train2014" / "tmp_root")
            for path in (root / "train2014").glob("*.jpg"):
                path.rename(root / "train2014" / "tmp_root" / path.name)
        images = Coco(2014).read(root, "train")
        assert len(images) == 5 and all(images.load(i).size == (32, 24) for i in range(5))
    write_voc(tmp_path / "voc" / "tmp_root", 2007)
    assert len(Voc(2007).read(tmp_path / "voc", "train")) == 3
    write_imagenet(tmp_path / "imagenet" / "tmp_root")
    assert len(ImageNet().read(tmp_path / "imagenet", "train")) == 6


def test_the_generated_set_in_other_layouts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    roots = {layout: layouts.provide(tmp_path / layout, TOY, layout) for layout in layouts.LAYOUTS}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco", "imagenet", "voc"]
    reference = sets.open_train(Data(name="toy", root=str(roots["coco"]), toy=TOY))
    lists = sets.open_train(Data(name="voc2007", root=str(roots["voc"])))
    assert reference.labels is not None and lists.labels is not None
    columns = [lists.classes.index(name) for name in reference.classes]
    same = lists.labels[:, columns]
    assert np.array_equal(same != 0, reference.labels == 1) and (same == 255).any()
    classes = sets.open_train(Data(name="imagenet", root=str(roots["imagenet"])))
    assert len(classes) == 40 and classes.labels is not None and (classes.labels.sum(1) == 1).all()
    stems = {lists.path(i).read_bytes(): i for i in range(40)}
    assert {reference.path(i).read_bytes() for i in range(40)} == set(stems)
    assert len(sets.open_train(Data(name="folder", root=str(roots["imagenet"])))) == 52
    assert layouts.provide(roots["voc"], TOY, "voc") == roots["voc"], "it is there already"
    with pytest.raises(DataError, match="choose another --root"):
        layouts.provide(roots["voc"], TOY, "imagenet")
