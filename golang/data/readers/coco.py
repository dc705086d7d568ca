"""Reader of COCO 2014 and 2017 (Lin et al., arXiv 1405.0312) as unpacked from the official archives, and of the JSON
files in their format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from golang.data.images import ImageSet
from golang.data.readers.reader import Reader, Split, first_of, refuse_absent, repeated
from golang.errors import DataError

IMAGES = {2014: {"train": 82_783, "val": 40_504}, 2017: {"train": 118_287, "val": 5_000}}
WITHOUT_OBJECTS = {2017: {"train": 1_021, "val": 48}}
CHUNK = 2**24  # bytes read at a time
KEY = b'"segmentation":'
_ABSENT = KEY + b"0"
# The corners of polygons by their key, which stands in front because the search for it is fast there. Looking back: a
# quote inside a JSON string is told by the backslash before it. NaN and Infinity are no JSON, but Python writes them.
_POLYGONS = re.compile(KEY + rb'(?<!\\"segmentation":)\s*(\[[\[\]0-9.,eE+\-\sNaInfity]*\])')

Id = int | str
_Numbered = tuple[dict[Id, int], list[str]]  # rows or columns by their ids, and their names


class Collector(Protocol):
    """Takes from a file, as it is being parsed, what labels do not need."""

    def polygons(self, match: re.Match[bytes]) -> bytes:
        """Takes a list of polygons, group 1 of KEY and its value; returns what is parsed in their place. All of the
        file's are seen before anything else is. Raises ValueError for what is no JSON."""

    def image(self, entry: dict[str, Any]) -> None:
        """Takes an entry of the list of images, in order."""

    def annotation(self, entry: dict[str, Any]) -> None:
        """Takes an entry of the list of annotations, in order."""


class Listing(NamedTuple):
    """A file, and those of its images that are asked for."""

    file: File
    rows: Mapping[Id, int]  # positions in the file's list of images, by their ids
    columns: Mapping[Id, int]  # and in that of categories
    kept: npt.NDArray[np.int64]  # which of the file's images are asked for, in the order of `images`
    images: ImageSet


class Coco(Reader):
    """COCO 2014 or 2017."""

    covers = ("coco", *Reader.covers)
    classes = 80

    def __init__(self, year: int) -> None:
        self.year = year
        self.title = f"COCO {year}"
        self.images, self.without_objects = IMAGES[year], WITHOUT_OBJECTS.get(year, {})

    def is_at(self, root: Path) -> bool:
        return any(
            (place / mark).exists()
            for place in (root, root / "tmp_root")
            for split in self.splits
            for mark in (f"{split}{self.year}", f"annotations/instances_{split}{self.year}.json")
        )

    def remedy(self, root: Path, split: Split) -> str:
        archive = f"{split}{self.year}.zip"
        return f"unpack them again (unzip -o {archive} -d {root}) from http://images.cocodataset.org/zips/{archive}"

    def layout(self, root: Path) -> str:
        return (
            f"expected:\n  {root}/train{self.year}/*.jpg\n  {root}/val{self.year}/*.jpg\n"
            f"  {root}/annotations/instances_train{self.year}.json\n"
            f"  {root}/annotations/instances_val{self.year}.json\n"
            f"unpack the archives of https://cocodataset.org/#download there, or set data.root=FOLDER; "
            f"data=toy needs no download"
        )

    def check(self, root: Path, split: Split) -> tuple[Path, Path]:
        """The folder of images and the annotation file of one split."""
        images = root / f"{split}{self.year}"
        annotations = root / "annotations" / f"instances_{split}{self.year}.json"
        images = first_of(images / "tmp_root", images, root / "tmp_root" / images.name, images)
        annotations = first_of(annotations, root / "tmp_root" / "annotations" / annotations.name, annotations)
        for path, found in ((root, root.is_dir()), (images, images.is_dir()), (annotations, annotations.is_file())):
            if not found:
                raise DataError(f"COCO {self.year}: {path} does not exist\n{self.layout(root)}")
        return images, annotations

    def read(self, root: Path, split: Split, labelled: bool = True) -> ImageSet:
        """The images of one split in the order of the JSON. Labels are uint8 [N, classes]; columns follow the JSON's
        categories, whose ids have gaps. Crowd annotations count like any other; an image without any is a row of 0."""
        return self.listing(root, split).images

    def listing(self, root: Path, split: Split, collector: Collector | None = None) -> Listing:
        """The same with the file they are of, from which `collector` takes more."""
        folder, annotations = self.check(root, split)
        document = File(annotations, collector)
        rows, names = _images(document)
        columns, classes = _categories(document)
        images = ImageSet.of(folder, names, document.labels(rows, columns), tuple(classes))
        refuse_absent(images, f"{annotations.name} names them\n{self.layout(root)}")
        return Listing(document, rows, columns, np.arange(len(rows)), images)


class File:
    """The lists of a JSON file in COCO's format: of every image (id, file name), of every annotation (id of its image,
    id of its category), and the categories as they are."""

    remedy = "this is not an intact COCO annotation file; unpack it again from its archive"
    required: Sequence[str] = ("images", "categories", "annotations")

    def __init__(self, path: Path, collector: Collector | None = None) -> None:
        """Raises DataError for a file that cannot be read, or has not the `required` lists."""
        self.path = path
        self._collector = collector
        try:
            text = _without_shapes(path, _ABSENT if collector is None else collector.polygons)
            document = json.loads(text, object_hook=self._slim)
        except (ValueError, RecursionError) as error:
            raise self.malformed(f"{type(error).__name__}: {error}") from error
        except OSError as error:
            raise DataError(f"cannot read {path}: {error}; check its permissions and the disk") from error
        if not isinstance(document, dict):
            raise self.malformed(f"an object at the top is expected, got {short(document)}")
        for name in ("images", "categories", "annotations"):
            if not isinstance(document.get(name), list) and (document.get(name) is not None or name in self.required):
                raise self.malformed(f"no list named {name!r}")
        self.images: list[Any] = document["images"]
        self.categories: list[Any] = document.get("categories") or []
        self.annotations: list[Any] | None = document.get("annotations")

    def key(self, value: object) -> Id | None:
        """An id as it is; None, which no image or category has, for what cannot be one."""
        return value if isinstance(value, (int, str)) else None

    def _slim(self, entry: dict[str, Any]) -> object:
        """Keeps of every image and annotation what labels need, while the file is being parsed."""
        if "image_id" in entry and "category_id" in entry:
            if self._collector is not None:
                self._collector.annotation(entry)
            return self.key(entry["image_id"]), self.key(entry["category_id"])
        if "file_name" in entry and "id" in entry:
            if self._collector is not None:
                self._collector.image(entry)
            return self.key(entry["id"]), entry["file_name"]
        return entry

    def labels(self, rows: Mapping[Id, int], columns: Mapping[Id, int]) -> npt.NDArray[np.uint8]:
        """uint8 [images, categories], 1 where an annotation says so. Raises DataError for one of something unknown."""
        labels = np.zeros((len(rows), len(columns)), dtype=np.uint8)
        for number, entry in enumerate(self.annotations or (), 1):
            if not isinstance(entry, tuple):
                raise self.malformed(f"an annotation without image_id and category_id: {short(entry)}")
            image, category = entry
            if image not in rows:
                raise self.malformed(f"an annotation of unknown image {image!r}, number {number} of the list")
            if category not in columns:
                said = f"(image {image!r}), number {number} of the list"
                raise self.malformed(f"an annotation of unknown category {category!r} {said}")
            labels[rows[image], columns[category]] = 1
        return labels

    def positions(self, keys: Sequence[Id], what: str) -> dict[Id, int]:
        """Position by id. Raises DataError for an id that is there twice."""
        self.refuse_twice(keys, f"{what} id")
        return {key: position for position, key in enumerate(keys)}

    def refuse_twice(self, values: Sequence[Id], what: str) -> None:
        if (twice := repeated(values)) is not None:
            raise self.malformed(f"{what} {twice!r} is listed twice")

    def malformed(self, what: str) -> DataError:
        return DataError(f"{self.path}: {what}\n{self.remedy}")


def _without_shapes(path: Path, instead: bytes | Callable[[re.Match[bytes]], bytes]) -> str:
    """The file's text with every list of polygon corners replaced: two thirds of it are never parsed or held."""
    parts: list[bytes] = []
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            rest += chunk
            cut = rest.rfind(KEY)  # all lists before the last key are complete
            if cut > 0:
                parts.append(_POLYGONS.sub(instead, rest[:cut]))
                rest = rest[cut:]
    parts.append(_POLYGONS.sub(instead, rest))
    return b"".join(parts).decode("utf-8-sig")


def _images(file: File) -> _Numbered:
    """Row by image id, and file names by row."""
    for key, name in pairs_of(file):
        climbs = ".." in name and ".." in name.replace("\\", "/").split("/")
        if not name or "\0" in name or name[0] in "/\\" or name[1:2] == ":" or climbs:
            raise file.malformed(f"file name {name!r} (image {key!r}) leaves the folder of images")
    keys, names = zip(*pairs_of(file), strict=True)
    rows = file.positions(keys, "image")
    file.refuse_twice(names, "file name")
    return rows, list(names)


def pairs_of(file: File) -> list[tuple[Id, str]]:
    """Id and file name of every image. Raises DataError for one without, and for none."""
    if not file.images:
        raise file.malformed("the list of images is empty")
    for entry in file.images:
        if not isinstance(entry, tuple) or entry[0] is None or not isinstance(entry[1], str):
            raise file.malformed(f"an image without id and file_name: {short(entry)}")
    return file.images


def named(file: File) -> list[tuple[Id, str]]:
    """Id and name of every category. Raises DataError for one without."""
    pairs = []
    for entry in file.categories:
        key = file.key(entry.get("id")) if isinstance(entry, dict) else None
        if key is None or not isinstance(entry.get("name"), str):
            raise file.malformed(f"a category without id and name: {short(entry)}")
        pairs.append((key, entry["name"]))
    return pairs


def _categories(file: File) -> _Numbered:
    """Column by category id, and class names by column."""
    if not file.categories:
        raise file.malformed("the list of categories is empty")
    keys, names = zip(*named(file), strict=True)
    columns = file.positions(keys, "category")
    file.refuse_twice(names, "category")
    return columns, list(names)


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
