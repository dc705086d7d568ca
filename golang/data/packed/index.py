"""What a pack is on disk, and what says where each image lies:

golang-pack.json   the set, and of each split its numbers and its files with their checksums
train.npz          the index of a split: names, where each image lies, labels, classes
train-00000.tar …  the images, byte for byte
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golang.config import Data
from golang.data.packed.shards import File, PackedSet
from golang.errors import DataError

FORMAT = 1
PACK = "golang-pack.json"
UNFINISHED = ".packing"  # what a pack in the making keeps beside its files
_TYPES = {"names": np.uint8, "offsets": np.int64, "shard": np.int32, "start": np.int64, "size": np.int64}


def index_name(split: str) -> str:
    return f"{split}.npz"


def shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}.tar"


@dataclass(frozen=True)
class Contents:
    """One split of a pack."""

    images: int
    missing: int  # images that could not be read when the set was packed
    classes: int  # 0 for unlabelled sets
    content: str  # the fingerprint of the images that were packed
    index: File
    shards: tuple[File, ...]

    @property
    def files(self) -> tuple[File, ...]:
        return self.index, *self.shards

    @classmethod
    def of(cls, split: str, facts: Any) -> Contents:  # noqa: ANN401 - JSON
        """From JSON. Raises ValueError, KeyError and TypeError for anything that no pack says."""
        images, missing, classes = (facts[name] for name in ("images", "missing", "classes"))
        files = [File(**one) for one in (facts["index"], *facts["shards"])]
        expected = [index_name(split), *(shard_name(split, number) for number in range(len(files) - 1))]
        for value in (images, missing, classes, *(file.bytes for file in files)):
            if type(value) is not int or value < 0:
                raise ValueError(f"{value!r} is no number of images or bytes")
        for text in (facts["content"], *(file.sha256 for file in files)):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no checksum")
        if [file.name for file in files] != expected:
            raise ValueError(f"the files of {split} are not {expected[0]}, {shard_name(split, 0)} and so on")
        return cls(images, missing, classes, facts["content"], files[0], tuple(files[1:]))


@dataclass(frozen=True)
class Pack:
    """A finished pack, as its golang-pack.json describes it."""

    root: Path
    set: str  # the name in data.name
    holdout: float  # the share in data.holdout
    parts: Mapping[str, Contents]  # by split
    checksum: str  # of golang-pack.json, and so of every file

    @classmethod
    def at(cls, root: Path) -> Pack | None:
        """The pack below `root`; None if there is none. Raises DataError for one that is unfinished or damaged."""
        file = root / PACK
        try:
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if (root / UNFINISHED).is_dir():
                raise DataError(
                    f"{root} is a pack that is not finished; type its command again, which goes on where it stood: "
                    f"python -m golang.data pack SET {root}"
                ) from None
            return None
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror}; check its permissions and the disk") from error
        try:
            facts = json.loads(data)
            if facts["format"] != FORMAT:
                raise DataError(
                    f"{file} is of format {facts['format']}, and this version reads {FORMAT}; take the version that "
                    "wrote it, or pack the set anew"
                )
            parts = {split: Contents.of(split, one) for split, one in facts["splits"].items()}
            if not isinstance(facts["set"], str):
                raise TypeError(f"{facts['set']!r} is no set")
            return cls(root, facts["set"], float(facts["holdout"]), parts, hashlib.sha256(data).hexdigest())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(file, f"{type(error).__name__}: {error}") from error

    def check_name(self, name: str) -> None:
        """Raises DataError if this is not a pack of the set `name`."""
        if self.set != name:
            raise DataError(
                f"{self.root} is a pack of {self.set}, not of {name}; choose data={self.set}, or another folder"
            )

    def check_set(self, data: Data) -> None:
        """Raises DataError if this is not what `data` asks for."""
        self.check_name(data.name)
        if self.holdout != data.holdout:
            raise DataError(
                f"{self.root} was packed with data.holdout={self.holdout:g}, and data.holdout={data.holdout:g} is "
                f"another set; set it to {self.holdout:g}, or pack the set again with --holdout {data.holdout:g}"
            )
        if data.val.images or data.val.annotations is not None:
            raise DataError(
                f"{self.root} is a pack, which has its own images to evaluate on; leave data.val.images and "
                "data.val.annotations out"
            )

    def check(self, split: str) -> Contents:
        """What there is of a split, after a glance at its files. Raises DataError if one is missing or of another size
        than it was written with."""
        if split not in self.parts:
            raise DataError(
                f"{self.root} is a pack of {self.set} without its {split} images; pack all of the set in another "
                f"folder: python -m golang.data pack SET OUT --set {self.set}"
            )
        for file in self.parts[split].files:
            if found := fault(self.root / file.name, file):
                raise _damaged(self.root / file.name, found)
        return self.parts[split]

    def open(self, split: str, labelled: bool = True, staged: Path | None = None) -> PackedSet:
        """The images of a split, without labels if not `labelled`, read from the folder `staged` if there is one.
        Raises DataError for damage."""
        part = self.check(split)
        try:
            return _read(self._index(part.index, staged), part, self.root, labelled, staged)
        except DataError:
            raise
        except Exception as error:  # a damaged archive raises nearly anything
            raise _damaged(self.root / part.index.name, f"{type(error).__name__}: {error}") from error

    def _index(self, index: File, staged: Path | None) -> bytes:
        """The bytes of an index, from the first place that has it whole."""
        if staged is not None:
            with contextlib.suppress(OSError):
                data = (staged / index.name).read_bytes()
                if hashlib.sha256(data).hexdigest() == index.sha256:
                    return data
        file = self.root / index.name
        try:
            data = file.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror}; check its permissions and the disk") from error
        if hashlib.sha256(data).hexdigest() != index.sha256:
            raise _damaged(file, "its SHA-256 is not the one it was written with")
        return data


def fault(path: Path, file: File) -> str:
    """What is wrong with a file's presence or size; "" if nothing is."""
    try:
        size = path.stat().st_size
    except OSError as error:
        return error.strerror or str(error)
    return "" if size == file.bytes else f"it has {size:,} bytes, and was written with {file.bytes:,}"


def human(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def _read(data: bytes, part: Contents, root: Path, labelled: bool, staged: Path | None) -> PackedSet:
    """The set that an index describes. Raises ValueError for one that contradicts itself, and whatever numpy raises."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in _TYPES}
        labels = stored["labels"] if labelled and "labels" in stored else None
        classes = tuple(map(str, stored["classes"].tolist())) if labels is not None else ()
        upright = bool(stored["upright"])
    for name, kind in _TYPES.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name} is {arrays[name].dtype} of {arrays[name].ndim} dimensions")
    offsets, shard, start, size = (arrays[name] for name in ("offsets", "shard", "start", "size"))
    if {len(offsets) - 1, len(shard), len(start), len(size)} != {part.images}:
        raise ValueError(f"it is of {len(shard):,} images, not {part.images:,}")
    if offsets[0] != 0 or offsets[-1] != len(arrays["names"]) or (np.diff(offsets) < 0).any():
        raise ValueError("names overlap")
    there = size >= 0
    ends = np.array([file.bytes for file in part.shards], dtype=np.int64)
    if (shard[there] < 0).any() or (shard[there] >= len(ends)).any():
        raise ValueError("an image lies in a shard that there is not")
    if (start[there] < 0).any() or (start[there] > ends[shard[there]] - size[there]).any():
        raise ValueError("an image lies outside of its shard")
    if labels is not None and (labels.dtype != np.uint8 or labels.shape != (part.images, len(classes))):
        raise ValueError(f"labels are {labels.dtype} {labels.shape} of {len(classes)} classes")
    return PackedSet(
        root, arrays["names"], offsets, labels, classes, upright,
        shards=part.shards, shard=shard, start=start, size=size, index=part.index.name, staged=staged,
    )  # fmt: skip


def _damaged(file: Path, what: str) -> DataError:
    return DataError(
        f"{file}: {what}: the pack is damaged. Restore it, or pack the set anew in another folder; "
        f"`python -m golang.data check {file.parent}` says what else is"
    )
