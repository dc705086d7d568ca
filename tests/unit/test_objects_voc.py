"""Objects and maps of PASCAL VOC's layout, the two years joined, and SBD."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from golang.config import Data, Toy
from golang.data import check
from golang.data import sets as image_sets
from golang.data.__main__ import main
from golang.data.objects import sets
from golang.data.readers.table import READERS
from golang.data.readers.voc import LISTS
from golang.data.toy import layouts
from golang.errors import DataError, UnlabelledError
from tests.unit.test_voc import write_voc

TOY = Toy(classes=5, size=32, train=40, val=12, seed=3)
OBJECT = """<object><name>{}</name><difficult>{}</difficult><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin>
<xmax>2</xmax><ymax>2</ymax></bndbox></part>{}</object>"""
BOX = "<bndbox><xmax>{2}</xmax><xmin>{0}</xmin><ymin>{1}</ymin><ymax>{3}</ymax></bndbox>"


def xml(*objects: str, size: str = "<size><width>32</width><height>24</height></size>") -> str:
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def thing(name: str, *corners: object, difficult: int = 0) -> str:
    return OBJECT.format(name, difficult, BOX.format(*corners) if corners else "")


def write_both(root: Path) -> Path:
    """Both years with trainval, each image with a person in all of it and, in 2007, a difficult cat."""
    for year in (2007, 2012):
        write_voc(root / "VOCdevkit", year)
        base = root / "VOCdevkit" / f"VOC{year}"
        lists = base / "ImageSets" / "Main"
        if year == 2012:
            for path in lists.glob("*train.txt"):
                both = path.read_text() + path.with_name(path.name.replace("train", "val")).read_text()
                path.with_name(path.name.replace("train", "trainval")).write_text(both)
        (base / "Annotations").mkdir()
        for path in (base / "JPEGImages").iterdir():
            own = [thing("person", 1, 1, 32, 24)]
            own += [thing("cat", 3, 4, 10.5, 9, difficult=1)] if year == 2007 else []
            (base / "Annotations" / f"{path.stem}.xml").write_text(xml(*own))
    return root


def data(name: str, root: Path) -> Data:
    return Data(name=name, root=str(root))  # type: ignore[arg-type]


def test_corners_count_from_one(tmp_path: Path) -> None:
    objects = sets.open_objects(data("voc2007", write_both(tmp_path)), "train")
    assert objects.images.classes == ("aeroplane", "cat", "person") and objects.ids.tolist() == [1, 2, 3]
    found = objects.of(1)
    assert found.boxes.tolist() == [[0, 0, 32, 24], [2, 3, 10.5, 9]], "xmin and ymin less one"
    assert found.classes.tolist() == [2, 1] and found.ignored.tolist() == [False, True]
    assert found.areas.tolist() == [32 * 24, 8.5 * 6] and objects.sizes.tolist() == [[32, 24]] * 3


def test_sizes_that_the_xml_does_not_say(tmp_path: Path) -> None:
    root = write_both(tmp_path)
    folder = root / "VOCdevkit" / "VOC2007" / "Annotations"
    (folder / "2007_train3.xml").write_text(xml(thing("cat", 1, 1, 2, 2), size=""))
    (folder / "2007_train1.xml").write_text(xml(size="<size><width>0</width><height>0</height></size>"))
    objects = sets.open_objects(data("voc2007", root), "train")
    assert objects.sizes.tolist() == [[32, 24]] * 3 and np.diff(objects.offsets).tolist() == [1, 0, 2]


def test_two_years_joined(tmp_path: Path) -> None:
    config = data("voc0712", write_both(tmp_path))
    train, val = sets.open_both(config)
    assert len(train) == 3 + 6 and len(val) == 3 and READERS["voc0712"].images == {"train": 16_551, "val": 4_952}
    assert train.images.name(0) == "VOC2007/JPEGImages/2007_train3.jpg"
    assert [Path(train.images.name(row)).name[:4] for row in range(9)] == ["2007"] * 3 + ["2012"] * 6
    assert np.diff(train.offsets).tolist() == [2] * 3 + [1] * 6 and train.load(8).size == (32, 24)
    assert [Path(val.images.name(row)).stem for row in range(3)] == [f"2007_val{n}" for n in (3, 1, 2)]
    images = image_sets.open_train(config)
    assert images.labels is not None and images.labels.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 255]] * 3
    shutil.rmtree(tmp_path / "VOCdevkit" / "VOC2012")
    with pytest.raises(DataError, match=r"VOC2012 does not exist[\s\S]*VOCtrainval_11-May-2012"):
        image_sets.check_root(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            xml(thing("cat", 1, 1, 2, 2), thing("dog", 1, 1, 2, 2)),
            r"object 2 \(dog\): ImageSets/Main has no such class",
        ),
        (xml(thing("cat")), r"object 1 \(cat\): it has no box of four numbers"),
        (xml(thing("cat", 1, "x", 2, 2)), r"object 1 \(cat\): it has no box of four numbers"),
        (xml(thing("cat", 9, 1, 2, 2)), r"object 1 \(cat\): its box .* has a negative side"),
        (xml(thing("cat", 99, 1, 200, 2)), r"object 1 \(cat\): its box .* lies outside the image of 32 × 24"),
        (xml(thing("cat", 1, 1, 2, 2, difficult=3)), r"object 1 \(cat\): its difficult is '3', neither 0 nor 1"),
        (xml(thing("cat", 1, 1, "nan", "inf")), r"object 1 \(cat\): it has no box of four numbers"),
        ("<annotation>", r"cannot read .*train3\.xml: .*unpack them again"),
        (None, r"cannot read .*train3\.xml: .*unpack them again"),
    ],
)
def test_annotations_that_cannot_be(tmp_path: Path, text: str | None, message: str) -> None:
    path = write_both(tmp_path) / "VOCdevkit" / "VOC2007" / "Annotations" / "2007_train3.xml"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        sets.open_objects(data("voc2007", tmp_path), "train")
    assert str(path) in str(caught.value)
    assert len(sets.open_objects(data("voc2007", tmp_path), "val")) == 3, "the other split is whole"


def test_parts_that_are_missing(tmp_path: Path) -> None:
    root = write_voc(tmp_path, 2012)
    with pytest.raises(DataError, match="VOC2012/Annotations does not exist; unpack them again from VOCtrainval"):
        sets.open_objects(data("voc2012", root), "train")
    with pytest.raises(DataError, match=r"ImageSets/Segmentation/train\.txt does not exist"):
        sets.open_segments(data("voc2012", root), "train")
    write_segmentation(root / "VOC2012", {"train": ["2012_train3"], "val": ["2012_val3"]})
    with pytest.raises(DataError, match=r"SBD: .*benchmark_RELEASE/dataset/cls does not exist[\s\S]*benchmark\.tgz"):
        sets.open_segments(data("voc_sbd", root), "train")
    assert len(sets.open_segments(data("voc_sbd", root), "val")) == 1, "which needs none"
    with pytest.raises(UnlabelledError, match="data=voc_sbd has no boxes"):
        sets.open_objects(data("voc_sbd", root), "train")


def write_segmentation(base: Path, lists: dict[str, list[str]]) -> None:
    """Maps whose pixels are the number of the list, with a border of 255."""
    for folder in ("SegmentationClass", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    for value, (name, ids) in enumerate(lists.items()):
        (base / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{one}\n" for one in ids))
        for one in ids:
            pixels = np.full((24, 32), value, dtype=np.uint8)
            pixels[0] = 255
            image = Image.fromarray(pixels)
            image.putpalette([255 - n // 3 for n in range(768)])
            image.save(base / "SegmentationClass" / f"{one}.png")


def write_sbd(root: Path) -> Path:
    """VOC 2012 with one image to train and one to measure on; SBD with these and the four others."""
    io = pytest.importorskip("scipy.io")
    write_voc(root / "VOCdevkit", 2012)
    write_segmentation(root / "VOCdevkit" / "VOC2012", {"train": ["2012_train3"], "val": ["2012_val1"]})
    base = root / "benchmark_RELEASE" / "dataset"
    (base / "cls").mkdir(parents=True)
    (base / "train.txt").write_text("2012_val1\n2012_train1\n2012_train3\n")
    (base / "val.txt").write_text("2012_val2\n2012_train2\n2012_val3\n")
    for n, stem in enumerate(f"2012_{split}{n}" for split in ("train", "val") for n in (1, 2, 3)):
        pixels = np.full((24, 32), n % 4, dtype=np.uint8)
        io.savemat(base / "cls" / f"{stem}.mat", {"GTcls": {"Segmentation": pixels, "Boundaries": np.zeros(3)}})
    return root


def test_sbd_is_joined_without_what_voc_measures_on(tmp_path: Path) -> None:
    for root in (write_sbd(tmp_path / "a"), write_sbd(tmp_path / "b") / "VOCdevkit"):
        train, val = sets.open_both_segments(data("voc_sbd", root))
        names = [Path(train.images.name(row)).stem for row in range(len(train))]
        assert names == ["2012_train3", "2012_train1", "2012_val2", "2012_train2", "2012_val3"]
        assert train.classes == ("background", "aeroplane", "cat", "person")
        assert [np.unique(train.of(row)).tolist() for row in range(5)] == [[0, 255], [0], [0], [1], [1]]
        assert train.of(0).dtype == np.uint8 and train.of(1).shape == (24, 32)
        assert len(val) == 1 and np.unique(val.of(0)).tolist() == [1, 255]
    assert READERS["voc_sbd"].images == {"train": 10_582, "val": 1_449}
    with pytest.raises(UnlabelledError):
        image_sets.open_val(data("voc_sbd", tmp_path / "a"))


def test_maps_that_cannot_be(tmp_path: Path) -> None:
    root = write_sbd(tmp_path)
    segments = sets.open_segments(data("voc_sbd", root), "train")
    path = root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2012_train3.png"
    for pixels, message in (
        (np.full((24, 32), 7, dtype=np.uint8), "has pixels of class 7, and there are 4"),
        (np.zeros((24, 30), dtype=np.uint8), "is of 30 × 24, and its image of 32 × 24"),
        (np.zeros((24, 32, 3), dtype=np.uint8), "is of mode RGB"),
    ):
        Image.fromarray(pixels).save(path)
        with pytest.raises(DataError, match=message) as caught:
            segments.of(0)
        assert str(path) in str(caught.value)
    mat = root / "benchmark_RELEASE" / "dataset" / "cls" / "2012_train1.mat"
    for content in (b"no matrix", None):
        path.unlink() if path.exists() else None
        mat.write_bytes(content) if content is not None else mat.unlink()
        for row, file in ((0, path), (1, mat)):
            with pytest.raises(DataError, match="cannot read") as caught:
                segments.of(row)
            assert str(file) in str(caught.value)


def test_check_looks_at_every_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_sbd(tmp_path)
    base, cls = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset" / "cls"
    config = data("voc_sbd", root)
    train, val = check.examine(config, False, lambda done, total: None)
    assert (
        not train.faulty and not val.faulty and "5 maps of classes" in train.notes and "1 maps of classes" in val.notes
    )
    images, maps = base / "JPEGImages", base / "SegmentationClass"
    (images / "2012_val2.jpg").unlink()
    Image.new("RGB", (30, 24)).save(images / "2012_train2.jpg")
    (cls / "2012_val3.mat").unlink()
    pytest.importorskip("scipy.io").savemat(
        cls / "2012_train1.mat", {"GTcls": {"Segmentation": np.full((24, 32), 300), "Boundaries": np.zeros(3)}}
    )
    shutil.copy(maps / "2012_val1.png", maps / "2012_train3.png")
    with Image.open(maps / "2012_val1.png") as image:
        image.putpalette([n % 251 for n in range(768)])
        image.save(maps / "2012_val1.png")
    train, val = check.examine(config, False, lambda done, total: None)
    assert len(train.faulty) == 3 and not val.faulty and train.missing == ["2012_val2.jpg"]
    said = "\n".join(train.faulty)
    assert f"{cls}/2012_train2.mat is of 32 × 24, and its image of 30 × 24" in said
    assert f"cannot read {cls}/2012_val3.mat" in said
    assert f"cannot read {cls}/2012_train1.mat: its values are no classes" in said
    (base / "ImageSets" / "Segmentation" / "val.txt").write_text("2012_val1\n2012_train3\n")
    Image.new("RGB", (32, 24)).save(maps / "2012_val3.png")
    _, val = check.examine(data("voc2012", root), False, lambda done, total: None)
    (fault,) = (one for one in val.faulty if "SegmentationClass" in one)
    assert f"{maps}/2012_train3.png: value 1 is of colour (" in fault and f"in {maps}/2012_val1.png; one of" in fault
    assert main(["check", str(root), "--set", "voc_sbd"]) == 1
    assert "3 boxes, masks and maps are not what they should be: correct them" in capsys.readouterr().out
    (base / "ImageSets" / "Segmentation" / "val.txt").unlink()
    _, val = check.examine(data("voc2012", root), False, lambda done, total: None)
    assert any("ImageSets/Segmentation/val.txt does not exist" in one for one in val.faulty)


def test_the_generated_set_says_the_same_in_both_layouts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    toy = Data(name="toy", root=str(layouts.provide(tmp_path / "coco", TOY, "coco")), toy=TOY)
    voc = data("voc2007", layouts.provide(tmp_path / "voc", TOY, "voc"))
    for split in ("train", "val"):
        ours, theirs = sets.open_objects(toy, split), sets.open_objects(voc, split)
        assert np.array_equal(ours.boxes, theirs.boxes) and np.array_equal(ours.offsets, theirs.offsets)
        columns = np.array([theirs.images.classes.index(name) for name in ours.images.classes])
        assert np.array_equal(columns[ours.classes], theirs.classes)
        assert theirs.ignored.any() == (split == "train") and not ours.ignored.any()
        maps, pngs = sets.open_segments(toy, split), sets.open_segments(voc, split)
        values = np.concatenate([[0], columns + 1])
        assert all(np.array_equal(values[maps.of(row)], pngs.of(row)) for row in range(len(maps)))
    assert main(["check", str(tmp_path / "voc"), "--set", "voc2007"]) == 0


def test_a_generated_set_of_before_in_vocs_layout_is_given_its_truth(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    base = layouts.provide(tmp_path / "voc", TOY, "voc") / "VOCdevkit" / "VOC2007"
    whole = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    for part in ("Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        shutil.rmtree(base / part)
    own = base / "JPEGImages" / "000001.jpg"
    before = own.stat().st_ino
    assert image_sets.open_train(data("voc2007", tmp_path / "voc")).labels is not None, "training goes on as ever"
    layouts.provide(tmp_path / "voc", TOY, "voc")
    assert {path: path.read_bytes() for path in base.rglob("*") if path.is_file()} == whole
    assert own.stat().st_ino == before
    assert LISTS[2007]["train"] == "trainval"
