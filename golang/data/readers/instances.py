"""Images with annotations in COCO's format, as tools for labelling write them: sets of one's own."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golang.config import Data
from golang.config.paths import absolute, expanded
from golang.data.images import ImageSet
from golang.data.readers.coco import Collector, File, Id, Listing, named, pairs_of
from golang.data.readers.reader import NO_VAL, PROBE, Own, Split, drawn, placed, refuse_absent, rooted
from golang.errors import DataError, UnlabelledError

_GLANCE = 2**14  # bytes at either end of a file that show what it is
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip


class Where(NamedTuple):
    """Where one split lies."""

    annotations: Path
    folders: Sequence[Path] = ()  # of images; none: they are looked for beside the annotations
    others: Sequence[Path] = ()  # and then here


class Instances(Own):
    """Images, and a JSON file for each split."""

    name = "coco"
    title = "images with COCO annotations"
    covers = ("list", "imagenet", "folder")

    def is_at(self, root: Path) -> bool:
        return bool(_found(root))

    def splits_of(self, data: Data) -> Sequence[Split]:
        return ("train", "val") if data.holdout or self._where(data, "val") else ("train",)

    def look(self, data: Data, split: Split) -> None:
        self._look(data, split)

    def _look(self, data: Data, split: Split) -> Where:
        where = self._where(data, split)
        if where is None and split == "val" and data.holdout:
            where = self._where(data, "train")
        if where is None and split == "val":
            raise UnlabelledError(f"data=coco {NO_VAL.format('name some with data.val.annotations=FILE')}")
        if where is None:
            bare = f"{data.root} holds no file of annotations in COCO's format; " if data.root else ""
            raise DataError(
                f"data=coco: {bare}it needs data.root=FOLDER, which holds one, or data.train.annotations=FILE, and "
                "data.train.images=FOLDER if the images do not lie beside it"
            )
        if not where.annotations.is_file():
            raise DataError(f"data=coco: {where.annotations} is no file; say which with data.{split}.annotations=FILE")
        for folder in where.folders:
            if not folder.is_dir():
                raise DataError(f"data=coco: {folder} is no folder; say where with data.{split}.images=FOLDER")
        return where

    def open(self, data: Data, split: Split, labelled: bool = True) -> ImageSet:
        """The images of a split in the order of the JSON. Labels are uint8 [N, classes], None where the file has no
        list of annotations; columns follow its categories. Crowds count like any other annotation, and an image without
        any is a row of 0. Raises DataError, naming file and entry, for what contradicts itself."""
        return self.listing(data, split, labelled).images

    def listing(self, data: Data, split: Split, labelled: bool = True, collector: Collector | None = None) -> Listing:
        """The same with the file they are of, from which `collector` takes more."""
        where = self._look(data, split)
        listed = _Listed(where, collector)
        kept = np.arange(len(listed.paths))
        if data.holdout:
            if (val := self._where(data, "val")) is not None:
                raise DataError(f"data=coco: {val.annotations} is there to evaluate on; leave data.holdout out")
            held = drawn(listed.names, data.holdout) if listed.labels is not None else kept[:0]
            kept = held if split == "val" else np.setdiff1d(kept, held)
        if not len(kept):
            raise DataError(f"data=coco: {where.annotations} has too few labelled images to hold any out")
        return Listing(listed.file, listed.rows, listed.columns, kept, listed.images(kept, labelled, split))

    def files(self, data: Data) -> list[Path]:
        """The files of annotations of both splits, or the one. Raises DataError where the settings do not say."""
        return [where.annotations for split in ("train", "val") if (where := self._where(data, split)) is not None]

    def words(self, data: Data) -> str:
        if data.train.annotations is None:
            return super().words(data)
        return shlex.join([*data.train.images, "--annotations", data.train.annotations])

    def _where(self, data: Data, split: Split) -> Where | None:
        """Where a split lies by the settings; None if they do not say. Raises DataError for several files."""
        part = data.train if split == "train" else data.val
        folders = [expanded(name) for name in part.images]
        if part.annotations is not None:
            others = [expanded(name) for name in data.train.images]
            return Where(expanded(part.annotations), folders, others)
        if folders:
            there = sorted(path for path in folders[0].glob("*.json") if _is_annotations(path))
            if not there:
                raise DataError(f"data=coco: no annotations in {folders[0]}; data.{split}.annotations=FILE says which")
            return Where(_only(there, split), folders)
        found = _found(expanded(data.root)) if data.root else {}
        return Where(_only(found[split], split)) if found.get(split) else None


def _found(root: Path) -> dict[str, list[Path]]:
    """The files of annotations in a folder or one level below, by the split that their names, or their folders',
    tell; the file that `root` itself may be is of train."""
    if root.is_file():
        return {"train": [root]} if _is_annotations(root) else {}
    found: dict[str, list[Path]] = {}
    for path in [*sorted(root.glob("*.json")), *sorted(root.glob("*/*.json"))]:
        if _is_annotations(path):
            words = re.findall("[a-z]+", path.relative_to(root).as_posix().lower())
            found.setdefault(next((_SPLITS[word] for word in words if word in _SPLITS), ""), []).append(path)
    if unnamed := found.pop("", []):
        found.setdefault("train", unnamed)
    return found


def _only(paths: Sequence[Path], split: Split) -> Path:
    """The one of several files that is of objects, as COCO names them."""
    objects = [path for path in paths if path.name.startswith("instances")] or paths
    if len(objects) > 1:
        names = ", ".join(map(str, objects))
        raise DataError(f"data=coco: several files of annotations, {names}; choose with data.{split}.annotations=FILE")
    return objects[0]


def _is_annotations(path: Path) -> bool:
    """Whether a file looks like COCO's format, by its two ends."""
    if path.suffix.lower() != ".json":
        return False
    try:
        with path.open("rb") as file:
            ends = file.read(_GLANCE)
            file.seek(max(0, file.seek(0, os.SEEK_END) - _GLANCE))
            ends += file.read()
    except OSError:
        return False
    keys = (b'"images"', b'"annotations"', b'"categories"', b'"file_name"', b'"image_id"')
    return ends.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and sum(key in ends for key in keys) > 1


class _File(File):
    """A file of one's own: ids may be written as 1, 1.0 or "1", and labels may be missing."""

    remedy = "correct it, or export it again as COCO"
    required = ("images",)

    def key(self, value: object) -> Id | None:
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d+(\.0*)?\s*", value):
            value = float(value) if "." in value else int(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


class _Listed:
    """What one file lists."""

    def __init__(self, where: Where, collector: Collector | None = None) -> None:
        """Raises DataError for what contradicts itself."""
        self.file = file = _File(where.annotations, collector)
        self.notes: list[str] = []
        keys, names = zip(*pairs_of(file), strict=True)
        folders = [absolute(folder) for folder in where.folders] or [_beside(where, names)]
        self.folders, self.paths, self.names = folders, list[str](), list[str]()
        for key, name in zip(keys, names, strict=True):
            try:
                places = [placed(name, folder) for folder in folders]
            except ValueError as error:
                raise file.malformed(f"file name {name!r} (image {key!r}) {error}") from error
            path = places[0] if len(places) == 1 else next(filter(os.path.lexists, places), places[0])
            self.paths.append(path)
            self.names.append(path.removeprefix(f"{folders[places.index(path)]}/"))
        self.rows = file.positions(keys, "image")
        file.refuse_twice(self.paths, "file")
        self.labels: npt.NDArray[np.uint8] | None = None
        self.columns: dict[Id, int] = {}
        self.classes: tuple[str, ...] = ()
        if file.annotations is not None and (file.categories or file.annotations):
            ids, classes = zip(*named(file), strict=True) if file.categories else ((), ())
            self.columns = file.positions(ids, "category")
            self.labels = file.labels(self.rows, self.columns)
            self.classes = self._numbered(ids, classes)

    def images(self, kept: npt.NDArray[np.int64], labelled: bool, split: Split) -> ImageSet:
        """The set of the images `kept`. Raises DataError if none of the first is there."""
        bases = [folder for folder in self.folders if all(path.startswith(f"{folder}/") for path in self.paths)]
        root, names = rooted([self.paths[index] for index in kept], bases)
        labels, classes = (None, ()) if self.labels is None or not labelled else (self.labels[kept], self.classes)
        found = ImageSet.of(root, names, labels, classes, upright=True, notes=self.notes)
        refuse_absent(found, f"{self.file.path} names them; say where they lie with data.{split}.images=FOLDER")
        return found

    def _numbered(self, ids: Sequence[Id], names: Sequence[str]) -> tuple[str, ...]:
        """Class names, of which one that is there again is numbered by its id: cat, cat (2)."""
        found: dict[Id, str] = {}
        for key, name in sorted(zip(ids, names, strict=True), key=lambda pair: (isinstance(pair[0], str), pair[0])):
            own, number = name, 1
            while own in found.values() or (number > 1 and own in names):
                number += 1
                own = f"{name} ({number})"
            found[key] = own
            if number > 1:
                self.notes.append(f"{self.file.path}: class {name!r} is listed again, and is {own!r} here")
        return tuple(found[key] for key in ids)


def _beside(where: Where, names: Sequence[str]) -> str:
    """The folder of images of a file that came without: its own, or where tools for labelling put them."""
    own, above = where.annotations.parent, where.annotations.parent.parent
    split = where.annotations.stem.removeprefix("instances_")
    places = [own, own / "images", above / "images" / split, above / "images", above / split, above, *where.others]
    for place in map(absolute, places):
        for name in names[:PROBE]:
            try:
                if os.path.lexists(placed(name, place)):
                    return place
            except ValueError:
                continue
    return absolute(own)
