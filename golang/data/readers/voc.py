"""Reader of PASCAL VOC 2007 and 2012 (Everingham et al., IJCV 2010 and 2015) as unpacked from the official archives.

Labels are those of the classification task, ImageSets/Main: 1 holds the class, −1 does not, 0 holds it but is
difficult, which is neither: 255 here, and excluded from losses and measures (SS-PRL's protocol, arXiv 2208.14439).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from golang.data.images import ImageSet
from golang.data.readers.reader import Reader, Split, first_of, repeated
from golang.errors import DataError

IGNORE = 255
# The test labels of 2012 are not public; its two labelled parts serve instead.
LISTS = {2007: {"train": "trainval", "val": "test"}, 2012: {"train": "train", "val": "val"}}
IMAGES = {2007: {"train": 5_011, "val": 4_952}, 2012: {"train": 5_717, "val": 5_823}}
ARCHIVES = {2007: "VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar", 2012: "VOCtrainval_11-May-2012.tar"}
_SOURCE = "http://host.robots.ox.ac.uk/pascal/VOC/"
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
        folder = self.base(root)
        images, lists = folder / "JPEGImages", folder / "ImageSets" / "Main"
        for path in (root, folder, images, lists):
            if not path.is_dir():
                raise DataError(f"VOC {self.year}: {path} does not exist\n{self.layout(root)}")
        found = sorted(lists.glob(f"*_{LISTS[self.year][split]}.txt"))
        if not found:
            raise DataError(f"VOC {self.year}: {lists} holds no *_{LISTS[self.year][split]}.txt\n{self.layout(root)}")
        return images, found

    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of one split in the order of its lists. Labels are uint8 [N, classes] in {0, 1, 255}; columns are
        the classes in the order of their names."""
        folder, lists = self.check(root, split)
        every, columns = zip(*map(_read_list, lists), strict=True)
        ids = every[0]
        for path, own in zip(lists, every, strict=True):
            if own != ids:
                differing = sorted(set(own) ^ set(ids))[:3] or ["their order"]
                raise _malformed(path, f"it lists other images than {lists[0].name}: {', '.join(differing)}")
        classes = tuple(path.name.rpartition("_")[0] for path in lists)
        return ImageSet.of(folder, [f"{name}.jpg" for name in ids], np.stack(columns, axis=1), classes)


def _read_list(path: Path) -> tuple[list[str], npt.NDArray[np.uint8]]:
    """The ids of a class's list and their labels, uint8 [N]."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; unpack it again from its archive") from error
    ids, values = [], []
    for number, line in enumerate(text.splitlines(), 1):
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
