"""What a pack is to consist of, and how much of it is there already.

What is unfinished lies in .packing beside the shards: the plan, which says of what set this is the pack, and for each
finished shard where its images lie.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golang.config import Data
from golang.data.images import ImageSet
from golang.data.packed import tar
from golang.data.packed.index import FORMAT, PACK, UNFINISHED, Pack, fault, human, shard_name
from golang.data.packed.shards import File
from golang.data.readers.fingerprint import fingerprint
from golang.errors import DataError

log = logging.getLogger(__name__)
PLAN = "plan.json"


@dataclass(frozen=True)
class Layout:
    """One split of a set, and which images go into which shard."""

    name: str
    images: ImageSet
    sizes: npt.NDArray[np.int64]
    room: npt.NDArray[np.int64]  # bytes that each image takes at most
    shards: list[tuple[int, int]]  # first image, and the one after the last

    @classmethod
    def of(cls, name: str, images: ImageSet, shard_size: int) -> Layout:
        sizes = images.sizes()
        room = tar.room(images.names, images.offsets, sizes)
        ends, starts = np.cumsum(room), [0] if len(images) else []
        for index in range(1, len(images)):
            if ends[index] - (ends[starts[-1] - 1] if starts[-1] else 0) > shard_size:
                starts.append(index)
        return cls(name, images, sizes, room, list(zip(starts, [*starts[1:], len(images)], strict=True)))

    @cached_property
    def content(self) -> str:
        return fingerprint(self.images, self.sizes)


@dataclass(frozen=True)
class Record:
    """A finished shard: where its images lie in it."""

    file: File
    start: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]  # −1 of an image that could not be read


def record(out: Path, split: Layout, number: int) -> Record | None:
    """The record of a shard that is finished; None of one that is to be written."""
    name = shard_name(split.name, number)
    try:
        with np.load(out / UNFINISHED / f"{name}.npz", allow_pickle=False) as stored:
            file = File(name, int(stored["bytes"]), str(stored["sha256"]))
            record = Record(file, stored["start"], stored["size"])
    except FileNotFoundError:
        return None
    return None if fault(out / name, file) else record


def plan_of(data: Data, splits: Sequence[Layout], shard_size: int) -> str:
    """What makes a pack this one, as JSON."""
    contents = {one.name: one.content for one in splits}
    plan = {"format": FORMAT, "set": data.name, "holdout": data.holdout, "shard_size": shard_size, "splits": contents}
    return json.dumps(plan)


def finished(out: Path, data: Data, splits: Sequence[Layout]) -> Pack | None:
    """The pack of these very splits, if it is there. Raises DataError for another one."""
    if not (out / PACK).exists():
        return None
    there = Pack.at(out)
    assert there is not None
    wanted = {one.name: one.content for one in splits}
    if (there.set, there.holdout) != (data.name, data.holdout) or {
        split: part.content for split, part in there.parts.items()
    } != wanted:
        raise DataError(
            f"{out} holds another pack (of {there.set}, or the set has changed since), and nothing is overwritten; "
            "choose another folder"
        )
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return there


def begun(out: Path, plan: str) -> bool:
    """Whether this very pack was begun there. Raises DataError where `out` holds anything else."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; name a new folder for the pack")
    file = out / UNFINISHED / PLAN
    if file.exists():
        if file.read_text() != plan:
            raise DataError(
                f"{out} was begun as the pack of another set, of other splits or with another --shard-size, or the "
                f"set has changed since; delete {out} to pack it anew, or choose another folder"
            )
        return True
    others = sorted(path.name for path in out.iterdir() if path.name != UNFINISHED) if out.exists() else []
    if others:
        raise DataError(f"{out} holds something else, such as {others[0]}; choose an empty or a new folder")
    return False


def check_room(out: Path, splits: Sequence[Layout]) -> None:
    """Says how much room the shards take that are still to be written. Raises DataError if there is less."""
    left = [
        int(one.room[first:stop].sum()) + 2 * tar.BLOCK
        for one in splits
        for number, (first, stop) in enumerate(one.shards)
        if record(out, one, number) is None
    ]
    sets = [one.images for one in splits]
    indices = sum(len(one.names) + 32 * len(one) + (0 if one.labels is None else one.labels.size // 8) for one in sets)
    needed = sum(left) + indices
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DataError(
            f"the pack takes {human(needed)} in {out}, and {human(free)} are free there; make room, or choose another "
            "folder"
        )
    images, shards = sum(map(len, sets)), sum(len(one.shards) for one in splits)
    log.info(
        "packing %s images into %d shards in %s: %s to write, %s free%s", f"{images:,}", shards, out, human(needed),
        human(free), f"; {shards - len(left)} shards are there already" if len(left) < shards else "",
    )  # fmt: skip
