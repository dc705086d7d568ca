"""Reader of PASCAL VOC 2007 and 2012 (Everingham et al., IJCV 2010 and 2015) as unpacked from the official archives.

Labels are those of the classification task, ImageSets/Main: 1 holds the class, −1 does not, 0 holds it but is
difficult, which is neither: 255 here, and excluded from losses and measures (SS-PRL's protocol, arXiv 2208.14439).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golang.config.paths import absolute
from golang.data.images import ImageSet
from golang.data.readers.reader import Reader, Split, first_of, repeated, rooted
from golang.errors import DataError

IGNORE = 255
# The test labels of 2012 are not public; its two labelled parts serve instead.
LISTS = {2007: {"train": "trainval", "val": "test"}, 2012: {"train": "train", "val": "val"}}
IMAGES = {2007: {"train": 5_011, "val": 4_952}, 2012: {"train": 5_717, "val": 5_823}}
ARCHIVES = {2007: "VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar", 2012: "VOCtrainval_11-May-2012.tar"}
_SOURCE = "http://host.robots.ox.ac.uk/pascal/VOC/"
_SBD = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
_VALUES = {"1": 1, "-1": 0, "0": IGNORE}


class Voc(Reader):
    """PASCAL VOC 2007 or 2012."""

    classes = 20

    def __init__(self, year: int) -> None:
        self.year = year
        self.title = f"PASCAL VOC {year}"
        self.images = IMAGES[year]

    def is_at(self, root: Path) -> bool:
        return self.base(root).is_dir()

    def remedy(self, root: Path, split: Split) -> str:
        return f"unpack them again from {ARCHIVES[self.year]} of {_SOURCE}"

    def layout(self, root: Path) -> str:
        base = root / "VOCdevkit" / f"VOC{self.year}"
        return (
            f"expected (VOCdevkit itself, or VOC{self.year} in it, may be the root too):\n"
            f"  {base}/JPEGImages/*.jpg\n"
            + "".join(f"  {base}/ImageSets/Main/*_{name}.txt\n" for name in LISTS[self.year].values())
            + f"unpack {ARCHIVES[self.year]} of {_SOURCE} there, or set data.root=FOLDER; data=toy needs no download"
        )

    def base(self, root: Path) -> Path:
        """The folder that holds JPEGImages and ImageSets, which may lie a little deeper than `root`."""
        name = f"VOC{self.year}"
        places = [root / start / name for start in ("VOCdevkit", "", "tmp_root/VOCdevkit", "tmp_root")]
        return first_of(*places, root if root.name == name else places[0])

    def check(self, root: Path, split: Split) -> tuple[Path, list[Path]]:
        """The folder of images and the lists of one split, one for each class."""
        return self.lists(root, LISTS[self.year][split])

    def lists(self, root: Path, part: str) -> tuple[Path, list[Path]]:
        """The same of train, val, trainval or test."""
        folder = self.base(root)
        images, lists = folder / "JPEGImages", folder / "ImageSets" / "Main"
        for path in (root, folder, images, lists):
            if not path.is_dir():
                raise DataError(f"VOC {self.year}: {path} does not exist\n{self.layout(root)}")
        found = sorted(lists.glob(f"*_{part}.txt"))
        if not found:
            raise DataError(f"VOC {self.year}: {lists} holds no *_{part}.txt\n{self.layout(root)}")
        return images, found

    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of one split in the order of its lists. Labels are uint8 [N, classes] in {0, 1, 255}; columns are
        the classes in the order of their names."""
        return self.part(root, LISTS[self.year][split])

    def part(self, root: Path, part: str) -> ImageSet:
        """The same of train, val, trainval or test."""
        folder, lists = self.lists(root, part)
        every, columns = zip(*map(_read_list, lists), strict=True)
        ids = every[0]
        for path, own in zip(lists, every, strict=True):
            if own != ids:
                differing = sorted(set(own) ^ set(ids))[:3] or ["their order"]
                raise _malformed(path, f"it lists other images than {lists[0].name}: {', '.join(differing)}")
        return ImageSet.of(folder, [f"{name}.jpg" for name in ids], np.stack(columns, axis=1), names_of(lists))

    def segmented(self, root: Path, split: Split) -> tuple[Path, list[str]]:
        """The folder of images, and the ids of those of one split whose pixels have classes."""
        folder, _ = self.check(root, split)
        path = folder.parent / "ImageSets" / "Segmentation" / f"{LISTS[self.year][split]}.txt"
        if not path.is_file():
            raise DataError(f"VOC {self.year}: {path} does not exist\n{self.layout(root)}")
        return folder, _read_ids(path)


class Joined(Reader):
    """VOC 2007 and 2012, as detectors are trained on: the trainval of both, and the test of 2007."""

    title = "PASCAL VOC 2007 and 2012"
    images: Mapping[str, int] = {"train": 16_551, "val": 4_952}
    classes = 20
    years: Mapping[Split, tuple[int, ...]] = {"train": (2007, 2012), "val": (2007,)}
    parts: Mapping[Split, str] = {"train": "trainval", "val": "test"}

    def is_at(self, root: Path) -> bool:
        return False  # each year is recognised by itself

    def layout(self, root: Path) -> str:
        return f"VOC 2012 too is {Voc(2012).layout(root)}"

    def check(self, root: Path, split: Split) -> None:
        for year in self.years[split]:
            Voc(year).lists(root, self.parts[split])

    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of one split, those of 2007 first; labels as those of one year."""
        parts = [Voc(year).part(root, self.parts[split]) for year in self.years[split]]
        for part in parts[1:]:
            parts[0].check_classes(part)
        paths = [f"{absolute(part.root)}/{part.name(row)}" for part in parts for row in range(len(part))]
        folder, names = rooted(paths)
        labels = np.concatenate([part.labels for part in parts if part.labels is not None])
        return ImageSet.of(folder, names, labels, parts[0].classes)

    def remedy(self, root: Path, split: Split) -> str:
        return "; ".join(Voc(year).remedy(root, split) for year in self.years[split])


class Augmented(Reader):
    """The images of VOC 2012 whose pixels have classes: its own, and those of SBD (Hariharan et al., ICCV 2011)."""

    title = "PASCAL VOC 2012 with SBD"
    images: Mapping[str, int] = {"train": 10_582, "val": 1_449}
    classes = 20

    def is_at(self, root: Path) -> bool:
        return False  # as VOC 2012

    def layout(self, root: Path) -> str:
        return (
            f"expected, beside VOC 2012:\n  {root}/benchmark_RELEASE/dataset/cls/*.mat\n"
            f"  {root}/benchmark_RELEASE/dataset/train.txt and val.txt\nunpack there {_SBD}"
        )

    def check(self, root: Path, split: Split) -> None:
        Voc(2012).segmented(root, "val")
        if split == "train":
            self.base(root)

    def base(self, root: Path) -> Path:
        """The folder of SBD that holds cls and the lists. Raises DataError if there is none."""
        starts = (root, root / "VOCdevkit", root.parent, root.parent.parent)
        places = [start / name for start in starts for name in ("benchmark_RELEASE/dataset", "SBD/dataset", "SBD")]
        for place in places:
            if (place / "cls").is_dir():
                return place
        raise DataError(f"SBD: {places[0]}/cls does not exist\n{self.layout(root)}")

    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of one split, without labels: to train on, VOC's own, then SBD's that VOC does not measure on."""
        folder, own = Voc(2012).segmented(root, split)
        if split == "train":
            known = {*own, *Voc(2012).segmented(root, "val")[1]}
            theirs = (name for part in ("train", "val") for name in _read_ids(self.base(root) / f"{part}.txt"))
            own = list(dict.fromkeys([*own, *(name for name in theirs if name not in known)]))
        return ImageSet.of(folder, [f"{name}.jpg" for name in own])

    def remedy(self, root: Path, split: Split) -> str:
        return Voc(2012).remedy(root, split)


def names_of(lists: Sequence[Path]) -> tuple[str, ...]:
    """The classes that `lists` are of."""
    return tuple(path.name.rpartition("_")[0] for path in lists)


def _read_ids(path: Path) -> list[str]:
    """The ids of a list that has one a line."""
    ids = _text(path).split()
    for name in ids:
        if "/" in name or "\\" in name or "\0" in name:
            raise _malformed(path, f"{name!r} leaves the folder of images")
    if not ids:
        raise _malformed(path, "it lists no image")
    if (twice := repeated(ids)) is not None:
        raise _malformed(path, f"image {twice!r} is listed twice")
    return ids


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; unpack it again from its archive") from error


def _read_list(path: Path) -> tuple[list[str], npt.NDArray[np.uint8]]:
    """The ids of a class's list and their labels, uint8 [N]."""
    ids, values = [], []
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in _VALUES:
            raise _malformed(path, f"line {number} is {line[:80]!r}, not an image and one of 1, 0, -1")
        if "/" in words[0] or "\\" in words[0] or "\0" in words[0]:
            raise _malformed(path, f"line {number}: {words[0]!r} leaves the folder of images")
        ids.append(words[0])
        values.append(_VALUES[words[1]])
    if not ids:
        raise _malformed(path, "it lists no image")
    if (twice := repeated(ids)) is not None:
        raise _malformed(path, f"image {twice!r} is listed twice")
    return ids, np.array(values, dtype=np.uint8)


def _malformed(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}\nthis is not an intact VOC list; unpack it again from its archive")
