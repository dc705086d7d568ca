"""Lists of images and their labels, and folders beside them: sets of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golang.config import Data
from golang.config.paths import absolute, expanded
from golang.data.images import ImageSet
from golang.data.readers import rows
from golang.data.readers.folder import walk
from golang.data.readers.reader import NO_VAL, Own, Split, drawn, refuse_absent, rooted
from golang.data.readers.rows import UNKNOWN, Listed, Row
from golang.errors import DataError, UnlabelledError

_LAYOUT = (
    "a list is CSV with a header such as image,labels, JSON lines, or a path a line; paths are relative to its folder"
)


class Lists(Own):
    """Images and labels as lists name them; the images of a folder in a list's place have no labels."""

    name = "list"
    title = "a list of images"

    def is_at(self, root: Path) -> bool:
        return root.is_file()

    def root(self, data: Data) -> Path:
        """The list. Raises DataError when it has to be said and is not."""
        if data.root:
            return expanded(data.root)
        raise DataError(f"data=list needs data.root=LIST, the file that names the images; {_LAYOUT}")

    def splits_of(self, data: Data) -> Sequence[Split]:
        return ("train", "val") if data.val.images or data.holdout or self._has_val_lines(data) else ("train",)

    def look(self, data: Data, split: Split) -> None:
        for source in self._sources(data, split):
            if not (source.is_file() or source.is_dir()):
                what = "is no file" if source.exists() else "does not exist"
                raise DataError(f"data=list: {source} {what}; {_LAYOUT}")
        if split == "val" and split not in self.splits_of(data):
            name = "name some with data.val.images=[LIST], or in a column split of the list"
            raise UnlabelledError(f"data=list: {self._said(data, 'train')} {NO_VAL.format(name)}")

    def open(self, data: Data, split: Split, labelled: bool = True) -> ImageSet:
        """The images of a split in the order of the lists. Labels are uint8 [N, classes] in {0, 1, 255 = unknown}, None
        where nothing is said of any image; columns are the classes that headers name, then the others by name. Raises
        DataError, with file and line, for what contradicts itself."""
        self.look(data, split)
        listed = self._read(data, "train")
        keep = ("train",) if data.val.images else ("train", "val")
        table = _Table(listed, keep, _classes(listed, keep))
        kept = table.of_split("train")
        if data.holdout:
            if len(table.of_split("val")):
                split_column = f"{self._said(data, 'train')} names images to evaluate on in its column split"
                raise DataError(f"data=list: {split_column}; leave data.holdout={data.holdout} out")
            held = table.held_out(kept, data.holdout)
            kept = held if split == "val" else np.setdiff1d(kept, held)
        elif split == "val":
            if data.val.images:
                listed, trained = self._read(data, "val"), table
                table = _Table(listed, ("val",), _agreed(table.classes, listed), otherwise="val")
                table.compare(trained)
            kept = table.of_split("val")
        if not len(kept):
            raise DataError(f"data=list: {self._said(data, split)} has no image to {_USE[split]}")
        return table.images(kept, labelled)

    def _sources(self, data: Data, split: Split) -> list[Path]:
        """The lists and folders that are named for a split, or hold it."""
        if split == "val" and data.val.images:
            return [expanded(name) for name in data.val.images]
        return [expanded(name) for name in data.train.images] or [self.root(data)]

    def _said(self, data: Data, split: Split) -> str:
        return ", ".join(map(str, self._sources(data, split)))

    def _read(self, data: Data, split: Split) -> list[Listed]:
        seen: set[Path] = set()
        return [
            _folder(source, seen) if source.is_dir() else rows.read(source, data.separator)
            for source in self._sources(data, split)
        ]

    def _has_val_lines(self, data: Data) -> bool:
        return any(row.split == "val" for one in self._read(data, "train") for row in one.rows)


_USE = {"train": "train on", "val": "evaluate on"}


def _folder(folder: Path, seen: set[Path]) -> Listed:
    """A folder as a list of its images, without labels."""
    below, place = walk(folder, seen), absolute(folder)
    own = [Row(f"{place}/{name}", 0) for name in below.names]
    return Listed(folder, place, own, passed_over=below.passed_over, notes=below.notes)


def _classes(listed: Sequence[Listed], keep: Sequence[str]) -> tuple[str, ...]:
    """The classes that headers name, in their order, then those of labels by name; numbers by their value."""
    columns = dict.fromkeys(column for one in listed for column in one.columns)
    named = {name for one in listed for row in one.rows if (row.split or keep[0]) in keep for name in row.labels or ()}
    return (*columns, *sorted(named.difference(columns), key=_in_order))


def _in_order(name: str) -> tuple[bool, int, str]:
    return (False, int(name), name) if name.isdecimal() else (True, 0, name)


def _agreed(classes: tuple[str, ...], listed: Sequence[Listed]) -> tuple[str, ...]:
    """The classes of the lists to evaluate on: those that are trained on, where these have labels. Raises DataError
    for a class of one of them alone."""
    if not classes:
        return _classes(listed, ("val",))
    unknown = "is no class of the training images; name it there too, or correct it"
    for one in listed:
        for column in one.columns:
            if column not in classes:
                raise DataError(f"{one.source}: column {column!r} {unknown}")
        for row in one.rows:
            for name in row.labels or ():
                if name not in classes:
                    raise DataError(f"{one.at(row)}: label {name!r} {unknown}")
    columns = {column for one in listed for column in one.columns}
    if columns and (missing := [name for name in classes if name not in columns]):
        names = ", ".join(str(one.source) for one in listed)
        raise DataError(f"{names}: no column {missing[0]!r}, a class of the training images; add it (empty: unknown)")
    return classes


class _Table:
    """The images of lists, each once, and their labels."""

    def __init__(
        self, listed: Sequence[Listed], keep: Sequence[str], classes: tuple[str, ...], otherwise: str = "train"
    ) -> None:
        """Those whose split is one of `keep`; `otherwise` is that of images of which no list says it. Raises DataError
        for an image that is named twice in two ways."""
        self.listed, self.classes = listed, classes
        self.column = {name: position for position, name in enumerate(classes)}
        self.rows: list[tuple[Listed, Row]] = []
        self.splits: list[str] = []
        self.merged: dict[int, npt.NDArray[np.uint8]] = {}  # labels of images that are named more than once
        self.passed_over = sum((one.passed_over for one in listed), Counter[str]())
        self.repeats: list[str] = []
        self.notes = [note for one in listed for note in one.notes]
        there: dict[str, int] = {}
        for source, row in ((one, row) for one in listed for row in one.rows):
            split = row.split or otherwise
            if split not in keep:
                self.passed_over[f"of split {split!r}"] += 1
            elif row.path in there:
                self._merge(there[row.path], source, row, split)
            else:
                there[row.path] = len(self.rows)
                self.rows.append((source, row))
                self.splits.append(split)

    def of_split(self, split: str) -> npt.NDArray[np.int64]:
        """Which images are of a split, int64 [n]."""
        return np.flatnonzero(np.array(self.splits) == split)

    def held_out(self, candidates: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
        """Which of the labelled candidates are held out, int64 [n], in the order of `candidates`."""
        labelled = np.array([index for index in candidates if self._labelled(int(index))], dtype=np.int64)
        names = [row.path.removeprefix(f"{one.folder}/") for one, row in (self.rows[index] for index in labelled)]
        return labelled[drawn(names, share)]

    def compare(self, trained: _Table) -> None:
        """Notes which images are trained on as well."""
        theirs = {row.path: source.at(row) for source, row in trained.rows}
        if both := [f"{one.at(row)}, and {theirs[row.path]}" for one, row in self.rows if row.path in theirs]:
            self.notes.append(f"{len(both):,} images to evaluate on are trained on as well: {both[0]}")

    def images(self, kept: npt.NDArray[np.int64], labelled: bool) -> ImageSet:
        """The set of the images `kept`. Raises DataError if none of the first is there."""
        rows = [self.rows[index] for index in kept]
        bases = [one.folder for one in self.listed if all(_is_below(one, row) for row in one.rows)]
        root, names = rooted([row.path for _, row in rows], bases)
        notes = list(self.notes)
        if self.repeats:
            notes.append(f"{len(self.repeats):,} lines name an image again, which counts once: {self.repeats[0]}")
        has = labelled and any(self._labelled(int(index)) for index in kept)
        labels, classes = (np.stack(list(self._labels(kept))), self.classes) if has else (None, ())
        found = ImageSet.of(root, names, labels, classes, True, self.passed_over, notes)
        refuse_absent(found, f"{rows[0][0].at(rows[0][1])} names it, and paths are relative to the list's folder")
        return found

    def _merge(self, first: int, one: Listed, row: Row, split: str) -> None:
        """Takes an image that is named again."""
        here, there = one.at(row), self.rows[first][0].at(self.rows[first][1])
        both = f"{here}: {row.path} is named again, after {there}"
        if split != self.splits[first]:
            uses = f"an image to {_USE[split]} and one to {_USE[self.splits[first]]}"
            raise DataError(f"{both}: it cannot be {uses}; delete one of them")
        known, new = self._row(first), self._values(one, row)
        if len(clash := np.flatnonzero((known != new) & (known != UNKNOWN) & (new != UNKNOWN))):
            raise DataError(f"{both}, with another label ({self.classes[clash[0]]}); delete one of them")
        self.merged[first] = np.where(known == UNKNOWN, new, known)
        self.repeats.append(f"{here}, after {there}")

    def _labels(self, kept: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
        return (self._row(int(index)) for index in kept)

    def _row(self, index: int) -> npt.NDArray[np.uint8]:
        return self.merged[index] if index in self.merged else self._values(*self.rows[index])

    def _values(self, one: Listed, row: Row) -> npt.NDArray[np.uint8]:
        """The labels of a row, uint8 [classes]."""
        said = row.labels is not None
        values = np.full(len(self.classes), 0 if said else UNKNOWN, dtype=np.uint8)
        if row.values is not None:
            values[[self.column[name] for name in one.columns]] = row.values
        values[[self.column[name] for name in row.labels or ()]] = 1
        return values

    def _labelled(self, index: int) -> bool:
        if index in self.merged:
            return bool((self.merged[index] != UNKNOWN).any())
        return bool(self.classes) and self.rows[index][1].labelled


def _is_below(one: Listed, row: Row) -> bool:
    return row.path.startswith(one.folder.rstrip("/") + "/")
