"""Packs a set: every image byte for byte into shards, one after the other, and the index of each split.

golang-pack.json is written last, so a pack that has one is whole.
"""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

import numpy as np

from golang.config import Data
from golang.data.decode import UnreadableImageError
from golang.data.images import ImageSet
from golang.data.packed import tar, verify
from golang.data.packed.index import FORMAT, PACK, UNFINISHED, Contents, Pack, index_name, shard_name
from golang.data.packed.plan import PLAN, Layout, Record, begun, check_room, finished, plan_of, record
from golang.data.packed.shards import File
from golang.data.progress import Advance, shown
from golang.disk import whole
from golang.disk.locks import locked
from golang.errors import DataError

T = TypeVar("T")
log = logging.getLogger(__name__)
SHARD = 10**9  # bytes
_READING = 16  # files read at once: a file server answers each one slowly, and many at once
_NAMED = 5  # files that could not be read, by name


def pack(
    sets: Mapping[str, ImageSet], data: Data, out: Path, shard_size: int = SHARD, beside: Sequence[Path] = ()
) -> Pack:
    """Packs `sets`, splits of what `data` says, into `out`, in shards of about `shard_size` bytes, with copies of the
    small files `beside`, and reads all of it back. What an interrupted call has finished stays.

    Raises DataError where there is too little room, and where `out` holds anything else: nothing is overwritten.
    """
    log.info("looking at %s files", f"{sum(map(len, sets.values())):,}")
    splits = [Layout.of(split, images, shard_size) for split, images in sets.items()]
    plan, work = plan_of(data, splits, shard_size), out / UNFINISHED
    try:
        if (there := finished(out, data, splits)) is not None:
            return there
        begun(out, plan)
        check_room(out, splits)
        work.mkdir(parents=True, exist_ok=True)
        with locked(work / "lock", lambda: _refuse(out), needed=False):
            if not begun(out, plan):
                _put(work, work / PLAN, lambda file: file.write(plan.encode()))
            parts = {one.name: _index(out, one, records) for one, records in _shards(out, splits)}
            for path in beside:
                content = path.read_bytes()
                _put(work, out / path.name, lambda file, content=content: file.write(content))  # type: ignore[misc]
            _read_back(out, parts)
            described = {split: asdict(part) for split, part in parts.items()}
            facts = {"format": FORMAT, "set": data.name, "holdout": data.holdout, "splits": described}
            _put(work, out / PACK, lambda file: file.write((json.dumps(facts, indent=1) + "\n").encode()))
    except OSError as error:
        raise DataError(
            f"cannot write the pack {out}: {error.strerror or error}; mend that, and type the same command again, "
            "which goes on with the next shard"
        ) from error
    shutil.rmtree(work, ignore_errors=True)
    done = Pack.at(out)
    assert done is not None
    return done


def _refuse(out: Path) -> NoReturn:
    raise DataError(f"another process is packing into {out}; wait for it, or choose another folder")


def _shards(out: Path, splits: Sequence[Layout]) -> list[tuple[Layout, list[Record]]]:
    """Each split with all its shards, which are written where they are missing."""
    total, found = sum(len(one.images) for one in splits), []
    with shown("packing images") as advance:
        done = 0
        for one in splits:
            records = []
            for number, (first, stop) in enumerate(one.shards):
                ready = functools.partial(_advance, advance, done, total)
                records.append(record(out, one, number) or _write(out, one, number, ready))
                done += stop - first
            found.append((one, records))
    return found


def _advance(advance: Advance, before: int, total: int, ready: int) -> None:
    advance(before + ready, total)


def _write(out: Path, split: Layout, number: int, ready: Callable[[int], None]) -> Record:
    """Writes a shard, and then the record of it; `ready` is told how many of its images are written."""
    first, stop = split.shards[number]
    name, work, images = shard_name(split.name, number), out / UNFINISHED, split.images

    def fill(file: BinaryIO) -> Record:
        archive = tar.Writer(file)
        start, size = np.zeros(stop - first, np.int64), np.full(stop - first, -1, np.int64)
        for at, member in enumerate(_members(images, first, stop)):
            if member is not None:
                start[at], size[at] = archive.add(images.name(first + at), *member), len(member[0])
            ready(at + 1)
        if (size < 0).any() and not images.root.is_dir():
            raise DataError(f"{images.root} is gone; bring it back, and type the same command again")
        digest = archive.close()
        return Record(File(name, archive.bytes, digest), start, size)

    done = _put(work, out / name, fill)
    facts = {"bytes": done.file.bytes, "sha256": done.file.sha256, "start": done.start, "size": done.size}
    _put(work, work / f"{name}.npz", lambda file: np.savez(file, **facts))  # type: ignore[arg-type]
    return done


def _members(images: ImageSet, first: int, stop: int) -> Iterator[tuple[bytes, int] | None]:
    """Content and time of change of the images from `first` to before `stop`, read ahead; None of one that cannot be
    read."""
    with ThreadPoolExecutor(_READING) as pool:
        ahead: deque[Future[tuple[bytes, int] | None]] = deque()
        for index in range(first, stop):
            ahead.append(pool.submit(_member, images, index))
            if len(ahead) > 2 * _READING:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _member(images: ImageSet, index: int) -> tuple[bytes, int] | None:
    try:
        content = images.content(index)
    except UnreadableImageError:
        return None
    return content, int(images.path(index).stat().st_mtime)


def _index(out: Path, split: Layout, records: Sequence[Record]) -> Contents:
    """Writes the index of a split whose shards are written."""
    images, size = split.images, np.concatenate([np.zeros(0, np.int64), *(one.size for one in records)])
    arrays = {
        "names": images.names,
        "offsets": images.offsets,
        "shard": np.repeat(np.arange(len(records), dtype=np.int32), [len(one.size) for one in records]),
        "start": np.concatenate([np.zeros(0, np.int64), *(one.start for one in records)]),
        "size": size,
        "classes": np.array(images.classes, dtype=np.str_),
        "upright": np.array(images.upright),
    } | ({} if images.labels is None else {"labels": images.labels})
    path = out / index_name(split.name)
    _put(out / UNFINISHED, path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
    missing = np.flatnonzero(size < 0)
    if len(missing):
        named = ", ".join(images.name(index) for index in missing[:_NAMED].tolist())
        log.warning(
            "%d of the %d %s images could not be read and are missing in the pack, where they count as unreadable: "
            "%s%s", len(missing), len(images), split.name, named, " …" if len(missing) > _NAMED else "",
        )  # fmt: skip
    index = File(path.name, path.stat().st_size, verify.sha256(path))
    shards = tuple(one.file for one in records)
    return Contents(len(images), len(missing), len(images.classes), split.content, index, shards)


def _read_back(out: Path, parts: Mapping[str, Contents]) -> None:
    """Raises DataError where a file's content is not what was written; the same command writes that one again."""
    files = [file for part in parts.values() for file in part.files]
    with shown("reading back") as advance:
        damaged = list(verify.damage(out, files, False, advance))
    for file, _ in damaged:
        (out / UNFINISHED / f"{file.name}.npz").unlink(missing_ok=True)
    if damaged:
        file, wrong = damaged[0]
        raise DataError(
            f"{out / file.name} is not what was written to it: {wrong}; check the storage, then type the same command "
            "again, which writes it anew"
        )


def _put(work: Path, target: Path, fill: Callable[[BinaryIO], T]) -> T:
    """As `whole.put`, for all who may read the set."""
    return whole.put(target, fill, work=work, mode=0o666)
