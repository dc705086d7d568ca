"""One list of images, line by line: CSV, JSON lines, or a path a line. Which it is, its first line says."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golang.config.paths import absolute
from golang.data.readers.reader import placed, repeated
from golang.errors import DataError

UNKNOWN = 255  # a label that the list leaves open: excluded from losses and measures
_DELIMITERS = (",", ";", "\t")
_IMAGE = frozenset((
    "image", "img", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image_file",
))  # fmt: skip
_LABELS = frozenset(("labels", "label", "classes", "class", "categories", "category", "tags", "tag"))
_SPLIT = frozenset(("split", "subset", "partition", "set"))
_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val",
}  # fmt: skip
_VALUES = {
    "": UNKNOWN, "nan": UNKNOWN, "0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """An image of a list."""

    path: str  # absolute
    line: int  # counted from 1; 0 for an image that was found in a folder
    split: str = ""  # "train" or "val", if the list has that column
    labels: tuple[str, ...] | None = None  # the classes it holds, all others being absent; None if nothing is said
    values: npt.NDArray[np.uint8] | None = None  # [columns of the list] in {0, 1, UNKNOWN}

    @property
    def labelled(self) -> bool:
        return self.labels is not None or (self.values is not None and bool((self.values != UNKNOWN).any()))


@dataclass
class Listed:
    """What a list, or a folder in its place, holds."""

    source: Path
    folder: str  # absolute; what relative paths are relative to
    rows: list[Row] = field(default_factory=list)
    columns: tuple[str, ...] = ()  # classes that the header names
    passed_over: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def at(self, row: Row) -> str:
        """Where a row stands, for people."""
        return f"{self.source} line {row.line}" if row.line else row.path


def read(path: Path, separator: str) -> Listed:
    """The images of a list, whose cells of labels are cut at `separator`. Raises DataError, naming file and line."""
    text = _text(path)
    found = Listed(path, absolute(path.parent))
    first = next((line.strip() for line in _split_lines(text) if line.strip()), "")
    delimiter = _delimiter(first)
    if first.startswith("{"):
        _read_objects(found, text, separator)
    elif delimiter:
        _read_cells(found, text, delimiter, separator)
    elif first and path.suffix.lower() in (".csv", ".tsv"):
        raise _malformed(path, 1, f"{first[:80]!r} names no column of images; begin with a header such as image,labels")
    else:
        lines = ((number, line.strip()) for number, line in enumerate(_split_lines(text), 1))
        found.rows = [Row(_path(found, number, line), number) for number, line in lines if line]
    if not found.rows and not found.passed_over:
        raise DataError(f"{path} lists no image; write a path a line, or a header such as image,labels and lines below")
    return found


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _malformed(path, line, "its text is not UTF-8; save the list as UTF-8") from error


def _split_lines(text: str) -> io.StringIO:
    """Lines that end as on Unix, Windows or an old Mac, and at no other character."""
    return io.StringIO(text, newline=None)


def _delimiter(line: str) -> str:
    """What stands between the columns of a header: of comma, semicolon and tab the one that makes most of them, one
    being that of the images; "" for a line that is no header."""
    cut = {delimiter: [_plain(cell) for cell in _cut(line, delimiter)] for delimiter in _DELIMITERS}
    fitting = [delimiter for delimiter in _DELIMITERS if not _IMAGE.isdisjoint(cut[delimiter])]
    return max(fitting, key=lambda delimiter: len(cut[delimiter]), default="")


def _cut(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


@dataclass(frozen=True)
class _Roles:
    """What named columns, or the names in an object, are for."""

    image: str
    labels: str | None
    split: str | None
    others: tuple[str, ...]

    @classmethod
    def of(cls, found: Listed, line: int, names: Iterable[str]) -> _Roles:
        own = [name for name in names if name]
        roles = []
        for what, known in (("images", _IMAGE), ("labels", _LABELS), ("splits", _SPLIT)):
            fitting = [name for name in own if _plain(name) in known]
            if len(fitting) > 1:
                raise _malformed(found.source, line, f"{' and '.join(fitting)} both name the {what}; rename one")
            roles.append(fitting[0] if fitting else None)
        image, labels, split = roles
        if image is None:
            these = ", ".join(own) or "its names"
            raise _malformed(found.source, line, f"none of {these} names the image; call the one that does image")
        return cls(image, labels, split, tuple(name for name in own if name not in (image, labels, split)))


def _read_cells(found: Listed, text: str, delimiter: str, separator: str) -> None:
    """CSV. Beside images and splits there is a column of labels, or one a class."""
    lines = _lines(found, text, delimiter)
    line, header = next(lines)
    if (twice := repeated([name for name in header if name])) is not None:
        raise _malformed(found.source, line, f"two columns are named {twice!r}; rename one")
    roles = _Roles.of(found, line, header)
    if roles.labels is None:
        found.columns = roles.others
    else:
        _pass_over(found, roles.others)
    for line, cells in lines:
        if len(cells) < len(header) or any(cells[len(header) :]):
            quoted = f"quote a cell that has {delimiter!r} in it"
            raise _malformed(found.source, line, f"it has {len(cells)} cells, and the header {len(header)}; {quoted}")
        record = dict(zip(header, cells, strict=False))
        split = "" if roles.split is None else _split(found, record[roles.split])
        if split is None:
            continue
        names = None if roles.labels is None else _names(found, line, record[roles.labels], separator)
        values = _values(found, line, record) if found.columns else None
        found.rows.append(Row(_path(found, line, record[roles.image]), line, split, names, values))


def _lines(found: Listed, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, by their number."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise _malformed(found.source, reader.line_num, f"{error}; correct its quotes") from error


def _read_objects(found: Listed, text: str, separator: str) -> None:
    """An object of JSON a line."""
    roles: dict[tuple[str, ...], _Roles] = {}
    for number, line in enumerate(_split_lines(text), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f"{error.msg}, character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise _malformed(found.source, number, f"it is no JSON ({what}); write an object a line") from error
        if not isinstance(record, dict):
            raise _malformed(found.source, number, 'it is no object; write it as {"image": "a.jpg", "labels": ["cat"]}')
        role = roles.get(tuple(record))
        if role is None:
            role = roles[tuple(record)] = _Roles.of(found, number, record)
        split = "" if role.split is None else _split(found, record[role.split])
        if split is None:
            continue
        labels = None if role.labels is None else record[role.labels]
        names = None if labels is None else _names(found, number, labels, separator)
        found.rows.append(Row(_path(found, number, record[role.image]), number, split, names))
    _pass_over(found, dict.fromkeys(name for role in roles.values() for name in role.others))


def _pass_over(found: Listed, names: Iterable[str]) -> None:
    if listed := ", ".join(names):
        found.notes.append(f"{found.source}: passed over beside images and labels: {listed}")


def _split(found: Listed, value: object) -> str | None:
    """Which split a line is of; None for one that is neither trained nor evaluated on, which is counted."""
    name = str(value or "").strip().lower()
    if name not in _SPLITS:
        found.passed_over[f"of split {name!r}" if name else "without a split"] += 1
    return _SPLITS.get(name)


def _names(found: Listed, line: int, labels: object, separator: str) -> tuple[str, ...]:
    """The classes that a cell or a list names."""
    given = labels.split(separator) if isinstance(labels, str) else labels
    if not isinstance(given, list) or not all(isinstance(one, str) or type(one) is int for one in given):
        raise _malformed(found.source, line, f"its labels are {labels!r}, not a list of names")
    return tuple(dict.fromkeys(name for one in given if (name := str(one).strip())))


def _values(found: Listed, line: int, record: Mapping[str, str]) -> npt.NDArray[np.uint8]:
    values = []
    for column in found.columns:
        value = _VALUES.get(record[column].lower())
        if value is None:
            found_there = f"{record[column][:80]!r} in column {column!r} is none of 0, 1 and nothing (unknown)"
            remedy = "correct it, leave the column out, or call the one that names the classes labels"
            raise _malformed(found.source, line, f"{found_there}; {remedy}")
        values.append(value)
    return np.array(values, dtype=np.uint8)


def _path(found: Listed, line: int, name: object) -> str:
    try:
        return placed(name, found.folder)
    except ValueError as error:
        raise _malformed(found.source, line, f"image {name!r} {error}") from error


def _malformed(path: Path, line: int, what: str) -> DataError:
    return DataError(f"{path} line {line}: {what}")
