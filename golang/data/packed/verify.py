"""Whether the files of a pack are what they were written as."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from golang.data.packed.index import Pack, fault
from golang.data.packed.shards import File
from golang.data.progress import Advance

BLOCK = 2**23  # bytes read at a time
_AT_ONCE = 4  # files


def sha256(path: Path, tick: Callable[[int], None] = lambda read: None) -> str:
    """Of a file's content; `tick` is told how many bytes more have been read. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
            tick(len(block))
    return found.hexdigest()


def damage(folder: Path, files: list[File], quick: bool, advance: Advance) -> Iterator[tuple[File, str]]:
    """Each of `files` that is not what it was, and what is wrong with it: by its presence and size alone if `quick`,
    else by its SHA-256 too."""

    def found(file: File) -> str:
        path = folder / file.name
        try:
            if wrong := fault(path, file):
                return wrong
            return "" if quick or sha256(path) == file.sha256 else "its SHA-256 is not the one it was written with"
        except OSError as error:
            return error.strerror or str(error)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, (file, wrong) in enumerate(zip(files, pool.map(found, files), strict=True), 1):
            advance(done, len(files))
            if wrong:
                yield file, wrong


def damage_of(pack: Pack, quick: bool, advance: Advance) -> list[str]:
    """The same of all files of a pack, as sentences."""
    files = [file for part in pack.parts.values() for file in part.files]
    return [f"{file.name}: {wrong}" for file, wrong in damage(pack.root, files, quick, advance)]
