"""Objects and maps of PASCAL VOC's layout (Everingham et al., IJCV 2010 and 2015): XML and PNG files beside JPEGImages.

Corners count from 1 and are within the box, so x0 and y0 are xmin − 1 and ymin − 1. Difficult objects are `ignored`,
which scorers go by; detectors are trained on them as on any (protocol B).
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

from golang.data.images import ASKING, ImageSet
from golang.data.objects.draft import Draft, Read
from golang.data.objects.measured import measured
from golang.data.objects.segments import BACKGROUND, IGNORED, Segments
from golang.data.readers.reader import Split
from golang.data.readers.voc import Augmented, Joined, Voc, names_of
from golang.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Annotation(NamedTuple):
    size: tuple[int, int]  # width and height; 0 where the file does not say
    objects: list[tuple[str, str, list[float]]]  # class, difficult, corners; fewer than four where it has no box


def objects(reader: Voc | Joined, root: Path, split: Split) -> Read:
    """The objects of a split of VOC, in the order of the set. Raises DataError, with the file, for what is missing or
    no annotation."""
    images = reader.read(root, split)
    paths = [_xml(images.path(row)) for row in range(len(images))]
    if not paths[0].parent.is_dir():
        raise DataError(f"{reader.title}: {paths[0].parent} does not exist; {reader.remedy(root, split)}")
    with ThreadPoolExecutor(ASKING) as pool:
        read = list(pool.map(functools.partial(_annotation, remedy=reader.remedy(root, split)), paths))
    found = [(row, *one) for row, annotation in enumerate(read) for one in annotation.objects]
    columns = {name: column for column, name in enumerate(images.classes)}
    boxes = np.array([box if len(box) == 4 else [np.nan] * 4 for *_, box in found], dtype=np.float64).reshape(-1, 4)
    boxes[:, :2] -= 1
    first = np.concatenate([[0], np.cumsum([len(annotation.objects) for annotation in read])])

    def said(number: int) -> str:
        row, name, *_ = found[number]
        return f"{paths[row]}: object {number - first[row] + 1} ({name})"

    flaws = {
        number: f"its difficult is {difficult!r}, neither 0 nor 1"
        for number, (_, _, difficult, _) in enumerate(found)
        if difficult not in ("", "0", "1")
    } | {
        number: "ImageSets/Main has no such class" for number, (_, name, *_) in enumerate(found) if name not in columns
    }
    draft = Draft(
        images, _sizes(images, read), np.arange(1, len(images) + 1),
        owners=np.array([row for row, *_ in found], dtype=np.int64), boxes=boxes,
        classes=np.array([columns.get(name, 0) for _, name, *_ in found], dtype=np.int64),
        ignored=np.array([difficult == "1" for *_, difficult, _ in found], dtype=np.bool_),
        areas=np.full(len(found), np.nan), source=paths[0].parent, said=said, published=True, flaws=flaws,
    )  # fmt: skip
    return draft.judged()


def segments(reader: Voc | Augmented, root: Path, split: Split, lenient: bool = False) -> Maps:
    """The maps of a split of VOC, and of SBD where it has no own. Raises DataError for what is missing; if `lenient`,
    images that cannot be read are of 0 × 0."""
    if isinstance(reader, Augmented):
        images, voc = reader.read(root, split), Voc(2012)
    else:
        voc = reader
        folder, ids = reader.segmented(root, split)
        images = ImageSet.of(folder, [f"{name}.jpg" for name in ids])
    own = {Path(name).stem for name in voc.segmented(root, split)[1]}
    theirs = reader.base(root) / "cls" if isinstance(reader, Augmented) and split == "train" else None
    maps = images.root.parent / "SegmentationClass"
    if not maps.is_dir():
        raise DataError(f"{reader.title}: {maps} does not exist; {reader.remedy(root, split)}")
    classes = (BACKGROUND, *names_of(voc.check(root, split)[1]))
    sizes = measured(images, np.arange(len(images)), lenient)
    return Maps(images, sizes, classes, maps, theirs, frozenset(own))


@dataclass(frozen=True, eq=False)
class Maps(Segments):
    """Maps in files: VOC's of the images `own`, SBD's of the others."""

    maps: Path
    theirs: Path | None
    own: frozenset[str]

    def path(self, index: int) -> Path:
        """The file of a map."""
        name = Path(self.images.name(index)).stem
        return self.maps / f"{name}.png" if self.theirs is None or name in self.own else self.theirs / f"{name}.mat"

    def of(self, index: int) -> npt.NDArray[np.uint8]:
        path = self.path(index)
        found = _png(path) if path.suffix == ".png" else _mat(path)
        if self.sizes[index].any() and found.shape != tuple(self.sizes[index, ::-1]):
            (height, width), (wide, high) = found.shape[:2], self.sizes[index]
            raise DataError(f"{path} is of {width} × {height}, and its image of {wide} × {high}; unpack both again")
        wrong = found[(found >= len(self.classes)) & (found != IGNORED)]
        if len(wrong):
            raise DataError(
                f"{path} has pixels of class {wrong[0]}, and there are {len(self.classes)}; unpack it again from its "
                "archive"
            )
        return found

    def colors(self, index: int) -> dict[int, tuple[int, ...]]:
        """Red, green and blue of each value in a map with a palette. Raises DataError as `of`."""
        path = self.path(index)
        if path.suffix != ".png":
            return {}
        values = np.unique(_png(path)).tolist()
        with Image.open(path) as image:
            palette = image.getpalette("RGB") or []
        return {value: tuple(palette[3 * value : 3 * value + 3]) for value in values}


def _png(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise ValueError(f"is of mode {image.mode}, not of one value a pixel")
            return np.asarray(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"cannot read {path}: {error}; unpack it again from its archive") from error


def _mat(path: Path) -> npt.NDArray[np.uint8]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError("the maps of SBD need scipy: pip install scipy") from error
    try:
        stored = loadmat(path, squeeze_me=True, struct_as_record=False)["GTcls"].Segmentation
        found = np.ascontiguousarray(stored, dtype=np.uint8)
        if not np.array_equal(found, stored):
            raise ValueError("its values are no classes")
        return found
    except Exception as error:  # a damaged file raises nearly anything
        raise DataError(f"cannot read {path}: {error}; unpack it again from its archive") from error


def _annotation(path: Path, remedy: str) -> _Annotation:
    try:
        root = ElementTree.fromstring(path.read_bytes())
        size = root.find("size")
        sides = [0, 0] if size is None else [int(float(size.findtext(side, "0"))) for side in ("width", "height")]
        found = [
            (one.findtext("name", "").strip(), one.findtext("difficult", "0").strip(), _corners(one))
            for one in root.findall("object")
        ]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"cannot read {path}: {error}; {remedy}") from error
    return _Annotation((sides[0], sides[1]), found)


def _corners(one: ElementTree.Element) -> list[float]:
    box = one.find("bndbox")
    texts = [] if box is None else [box.findtext(corner) for corner in _CORNERS]
    try:
        return [float(text) for text in texts if text is not None]
    except ValueError:
        return []


def _sizes(images: ImageSet, read: list[_Annotation]) -> npt.NDArray[np.int32]:
    sizes = np.array([annotation.size for annotation in read], dtype=np.int32).reshape(-1, 2)
    unknown = np.flatnonzero((sizes <= 0).any(axis=1))
    if len(unknown):
        sizes[unknown] = measured(images, unknown)
    return sizes


def _xml(image: Path) -> Path:
    return image.parent.parent / "Annotations" / f"{image.stem}.xml"
