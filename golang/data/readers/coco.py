"""Reader of COCO 2014 and 2017 (Lin et al., arXiv 1405.0312) as unpacked from the official archives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from golang.data.images import ImageSet
from golang.data.readers.reader import Reader, Split, first_of, repeated
from golang.errors import DataError

IMAGES = {2014: {"train": 82_783, "val": 40_504}, 2017: {"train": 118_287, "val": 5_000}}
WITHOUT_OBJECTS = {2017: {"train": 1_021, "val": 48}}
_PROBE = 3  # files looked for before training starts; one of several that is missing counts as unreadable
CHUNK = 2**24  # bytes read at a time
KEY = b'"segmentation":'
# The corners of polygons by their key, which stands in front because the search for it is fast there. Looking back: a
# quote inside a JSON string is told by the backslash before it.
_POLYGONS = re.compile(KEY + rb'(?<!\\"segmentation":)\s*\[[\[\]0-9.,eE+\-\s]*\]')

_Id = int | str
_Numbered = tuple[dict[_Id, int], list[str]]  # rows or columns by their ids, and their names


class Coco(Reader):
    """COCO 2014 or 2017."""

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
        folder, annotations = self.check(root, split)
        document = _parse(annotations)
        rows, names = _images(document["images"], annotations)
        columns, classes = _categories(document["categories"], annotations)
        labels = np.zeros((len(names), len(classes)), dtype=np.uint8)
        for entry in document["annotations"]:
            if not isinstance(entry, tuple):
                raise _malformed(annotations, f"an annotation without image_id and category_id: {_short(entry)}")
            image, category = entry
            if image not in rows:
                raise _malformed(annotations, f"an annotation of unknown image {image!r}")
            if category not in columns:
                raise _malformed(annotations, f"an annotation of unknown category {category!r} (image {image!r})")
            labels[rows[image], columns[category]] = 1
        images = ImageSet.of(folder, names, labels, tuple(classes))
        first = [images.path(index) for index in range(min(_PROBE, len(images)))]
        if not any(path.is_file() for path in first):
            gone = f"{first[0]} does not exist, nor the next ones that {annotations.name} lists"
            raise DataError(f"COCO {self.year}: {gone}\n{self.layout(root)}")
        return images


def _parse(path: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(_without_shapes(path), object_hook=_slim)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"{type(error).__name__}: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}; check its permissions and the disk") from error
    if not isinstance(document, dict):
        raise _malformed(path, f"an object at the top is expected, got {_short(document)}")
    for key in ("images", "categories", "annotations"):
        if not isinstance(document.get(key), list):
            raise _malformed(path, f"no list named {key!r}")
    return document


def _without_shapes(path: Path) -> str:
    """The file's text with every list of polygon corners replaced by 0: two thirds of it are never parsed or held."""
    parts: list[bytes] = []
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            rest += chunk
            cut = rest.rfind(KEY)  # all lists before the last key are complete
            if cut > 0:
                parts.append(_POLYGONS.sub(KEY + b"0", rest[:cut]))
                rest = rest[cut:]
    parts.append(_POLYGONS.sub(KEY + b"0", rest))
    return b"".join(parts).decode("utf-8")


def _slim(entry: dict[str, Any]) -> object:
    """Keeps of every image and annotation what labels need, while the file is being parsed."""
    if "image_id" in entry and "category_id" in entry:
        return _key(entry["image_id"]), _key(entry["category_id"])
    if "file_name" in entry and "id" in entry:
        return _key(entry["id"]), entry["file_name"]
    return entry


def _key(value: object) -> _Id | None:
    """An id as it is; None, which no image or category has, for what cannot be one."""
    return value if isinstance(value, (int, str)) else None


def _images(entries: list[Any], path: Path) -> _Numbered:
    """Row by image id, and file names by row."""
    for entry in entries:
        if not isinstance(entry, tuple) or entry[0] is None or not isinstance(entry[1], str):
            raise _malformed(path, f"an image without id and file_name: {_short(entry)}")
        key, name = entry
        climbs = ".." in name and ".." in name.replace("\\", "/").split("/")
        if not name or "\0" in name or name[0] in "/\\" or name[1:2] == ":" or climbs:
            raise _malformed(path, f"file name {name!r} (image {key!r}) leaves the folder of images")
    return _numbered(entries, path, "images", "image id", "file name")


def _categories(entries: list[Any], path: Path) -> _Numbered:
    """Column by category id, and class names by column."""
    pairs = []
    for entry in entries:
        key = _key(entry.get("id")) if isinstance(entry, dict) else None
        if key is None or not isinstance(entry.get("name"), str):
            raise _malformed(path, f"a category without id and name: {_short(entry)}")
        pairs.append((key, entry["name"]))
    return _numbered(pairs, path, "categories", "category id", "category")


def _numbered(pairs: list[tuple[_Id, str]], path: Path, all_: str, an_id: str, a_name: str) -> _Numbered:
    """Position by id, and names by position."""
    if not pairs:
        raise _malformed(path, f"the list of {all_} is empty")
    keys, names = zip(*pairs, strict=True)
    for what, values in ((an_id, keys), (a_name, names)):
        if (twice := repeated(values)) is not None:
            raise _malformed(path, f"{what} {twice!r} is listed twice")
    return {key: position for position, key in enumerate(keys)}, list(names)


def _malformed(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}\nthis is not an intact COCO annotation file; unpack it again from its archive")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
