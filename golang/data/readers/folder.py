"""Any folders of images, without labels."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from golang.config import Data
from golang.config.paths import absolute, expanded
from golang.data import decode
from golang.data.images import ImageSet
from golang.data.readers.reader import Own, Split, rooted
from golang.errors import DataError, StorageError

HIDDEN = "hidden"
_NAMED = 3  # links that a note names


class Folder(Own):
    """All images below one folder or several."""

    name = "folder"
    title = "a folder of images"
    splits = ("train",)

    def is_at(self, root: Path) -> bool:
        return root.is_dir()

    def look(self, data: Data, split: Split) -> None:
        for folder in self._folders(data):
            if not folder.is_dir():
                what = "is not a folder (data=list reads lists)" if folder.exists() else "does not exist"
                remedy = f"set data.root=FOLDER to a folder of images ({_kinds()})"
                raise DataError(f"{_setting(data)}={folder} {what}; {remedy}")

    def open(self, data: Data, split: Split, labelled: bool = True) -> ImageSet:
        """Every image file below the folders, unlabelled: folder by folder, each sorted by the path relative to it. Of
        one folder names are relative to it; of several to what holds them all, and each file is there once."""
        self.look(data, split)
        folders, seen = self._folders(data), set[Path]()
        walks = [walk(folder, seen) for folder in folders]
        passed_over = sum((one.passed_over for one in walks), Counter[str]())
        notes = [note for one in walks for note in one.notes]
        if not any(one.names for one in walks):
            where = ", ".join(map(str, folders))
            raise DataError(
                f"no image below {_setting(data)}={where}: files ending in {_kinds()} are looked for, in any "
                "subfolder; check the folder, or set data.root=FOLDER to another"
                + "".join(f"; passed over: {count:,} {kind}" for kind, count in sorted(passed_over.items()))
            )
        root, names = folders[0], walks[0].names
        if len(folders) > 1:
            places = [absolute(folder) for folder in folders]
            below = zip(places, walks, strict=True)
            root, names = rooted([f"{place}/{name}" for place, one in below for name in one.names], places)
        # Upright: photographs as their owner sees them.
        return ImageSet.of(root, names, upright=True, passed_over=passed_over, notes=notes)

    def _folders(self, data: Data) -> list[Path]:
        return [expanded(name) for name in data.train.images] or [self.root(data)]


@dataclass
class Walk:
    """What lies below a folder."""

    names: list[str] = field(default_factory=list)  # of images, relative to the folder, sorted
    passed_over: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def walk(root: Path, seen: set[Path]) -> Walk:
    """Every image file below `root`. Linked folders are entered once, and none of `seen`, which it adds to; hidden
    files and folders are passed over. Raises StorageError where the storage fails."""
    found, again, closed = Walk(), list[str](), list[str]()

    def failed(error: OSError) -> None:
        if error.errno in decode.TRANSIENT:
            raise StorageError(f"can't list {error.filename}: {error.strerror}; check the storage") from error
        closed.append(str(error.filename))

    for folder, folders, files in os.walk(root, followlinks=True, onerror=failed):
        real = Path(folder).resolve()
        if real in seen:  # a link back up would be walked for ever
            folders.clear()
            again.append(folder)
            continue
        seen.add(real)
        hidden = [name for name in folders if name.startswith(".")]
        found.passed_over[HIDDEN] += len(hidden)
        # Sorted: of two links to one folder the same is entered on every machine.
        folders[:] = sorted(set(folders).difference(hidden))
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else below + "/"
        found.names += [prefix + name for name in images(files, found.passed_over)]
    found.names.sort()
    found.passed_over += Counter()  # which drops what was counted 0 times
    found.notes += _named("links to folders that are read already", again)
    found.notes += _named("folders that can't be read", closed)
    if missing := sorted(kind for kind in found.passed_over if kind in (".heic", ".heif")):
        found.notes.append(f"{' and '.join(missing)} files need pillow-heif: pip install pillow-heif")
    return found


def images(files: list[str], passed_over: Counter[str]) -> list[str]:
    """The names that count as images, in their order; the others are counted. No hidden file does, such as the
    "._photo.jpg" of macOS."""
    kinds, found = decode.suffixes(), []
    for name in files:
        suffix = Path(name).suffix.lower()
        if name.startswith("."):
            passed_over[HIDDEN] += 1
        elif suffix in kinds:
            found.append(name)
        else:
            passed_over[suffix or "without a suffix"] += 1
    return found


def _named(what: str, folders: list[str]) -> list[str]:
    more = f" and {len(folders) - _NAMED:,} more" if len(folders) > _NAMED else ""
    return [f"passed over, {what}: {', '.join(folders[:_NAMED])}{more}"] if folders else []


def _setting(data: Data) -> str:
    return "data.train.images" if data.train.images else "data.root"


def _kinds() -> str:
    return ", ".join(decode.suffixes())
