"""The files of a pack: damage is told from an unreadable image, and nothing they say is trusted."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golang.config import Data, Toy
from golang.data import decode, sets
from golang.data.__main__ import main
from golang.data.packed import shards
from golang.data.packed.index import PACK, Pack
from golang.data.packed.shards import PackedSet
from golang.data.toy import layouts
from golang.errors import DataError, StorageError
from tests.unit.test_damaged import photos
from tests.unit.test_packed import TOY, flip, pack_photos


@pytest.fixture
def packed(tmp_path: Path) -> PackedSet:
    """Nine photographs in several shards."""
    photos(tmp_path / "loose", 9)
    return pack_photos(tmp_path / "loose", tmp_path / "pack").open("train")


def opened(root: Path) -> PackedSet:
    pack = Pack.at(root)
    assert pack is not None
    return pack.open("train")


def describe(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes golang-pack.json."""
    facts = json.loads((root / PACK).read_text())
    change(facts)
    (root / PACK).write_text(json.dumps(facts))


def forge(root: Path, **arrays: Any) -> None:
    """An index of other arrays, with a checksum that holds."""
    with np.load(root / "train.npz") as stored:
        content = {name: stored[name] for name in stored} | arrays
    file = io.BytesIO()
    np.savez(file, **content)
    (root / "train.npz").write_bytes(data := file.getvalue())
    index = {"name": "train.npz", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    describe(root, lambda facts: facts["splits"]["train"].update(index=index))


@pytest.mark.parametrize(
    ("damage", "said", "shown"),
    [
        (lambda root: os.truncate(root / "train-00001.tar", 999), "it has 999 bytes, and", "train-00001.tar: it has"),
        (lambda root: (root / "train-00001.tar").unlink(), "No such file", "train-00001.tar: No such file"),
        (lambda root: flip(root / "train.npz"), "train.npz: its SHA-256", "train.npz: its SHA-256"),
        (lambda root: flip(root / "train-00001.tar"), "", "train-00001.tar: its SHA-256"),
    ],
)  # fmt: skip
def test_damage(
    packed: PackedSet, damage: Callable[[Path], object], said: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(packed.root)]) == 0 and "all is well" in capsys.readouterr().out
    damage(packed.root)
    if said:
        with pytest.raises(DataError, match=f"{said}.*the pack is damaged"):
            opened(packed.root)
    assert main(["check", str(packed.root)]) == 1
    assert f"damaged: {shown}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / PACK).write_text("{"), "JSONDecodeError"),
        (lambda root: (root / PACK).write_text("[]"), "TypeError"),
        (lambda root: describe(root, lambda facts: facts.update(format=2)), "is of format 2, and this version reads 1"),
        (lambda root: describe(root, lambda facts: facts.pop("set")), "KeyError: 'set'"),
        (lambda root: describe(root, lambda facts: facts["splits"]["train"]["shards"][0].update(name="../../x")),
         "the files of train are not train.npz, train-00000.tar"),
        (lambda root: describe(root, lambda facts: facts["splits"]["train"].update(images=-1)), "-1 is no number of"),
        (lambda root: describe(root, lambda facts: facts["splits"]["train"].update(images=8)), "of 9 images, not 8"),
        (lambda root: forge(root, size=np.full(9, 10**6)), "outside of its shard"),
        (lambda root: forge(root, start=np.full(9, -5)), "outside of its shard"),
        (lambda root: forge(root, start=np.full(9, 2**63 - 9)), "outside of its shard"),
        (lambda root: forge(root, shard=np.full(9, 99, np.int32)), "in a shard that there is not"),
        (lambda root: forge(root, shard=np.zeros(9)), "shard is float64"),
        (lambda root: forge(root, offsets=np.arange(10)[::-1].copy()), "names overlap"),
        (lambda root: forge(root, labels=np.ones((9, 2), np.uint8)), "of 0 classes"),
        (lambda root: forge(root, names=np.array([print], dtype=object)), "allow_pickle=False"),
    ],
)  # fmt: skip
def test_what_no_pack_says_is_refused(packed: PackedSet, change: Callable[[Path], object], said: str) -> None:
    change(packed.root)
    with pytest.raises(DataError, match=said):
        opened(packed.root)


def test_a_moody_storage_is_asked_again(packed: PackedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures, pauses = os.pread, [errno.EIO, errno.ESTALE], []

    def flaky(descriptor: int, size: int, start: int) -> bytes:
        if failures:
            raise OSError(failures.pop(), "moody file server")
        return real(descriptor, min(size, 100), start)  # and it gives little at a time

    monkeypatch.setattr(shards.os, "pread", flaky)
    monkeypatch.setattr(decode.time, "sleep", pauses.append)
    whole = (packed.root.parent / "loose/001.jpg").read_bytes()
    assert packed.content(1) == whole and pauses == [0.1, 0.5]
    failures[:] = [errno.EIO] * 5
    with pytest.raises(StorageError, match=r"tar:001\.jpg could not be read in 5 tries: moody file server"):
        packed.nearest(1, lambda data, upright: data)
    failures[:] = [errno.EACCES]
    with pytest.raises(
        DataError, match=r"cannot read \S*train-00000\.tar: moody file server; `python -m golang"
    ) as error:
        packed.nearest(1, lambda data, upright: data)
    assert not isinstance(error.value, (StorageError, decode.UnreadableImageError)), "no neighbour stands in"


def test_a_shard_that_ends_early_is_no_unreadable_image(packed: PackedSet) -> None:
    os.truncate(packed.root / "train-00000.tar", 600)
    with pytest.raises(DataError, match="ends at byte 600, within an image") as error:
        packed.nearest(0, lambda data, upright: data)
    assert not isinstance(error.value, decode.UnreadableImageError)


def descriptors() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_files_are_open_however_many_are_read(packed: PackedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    shards._opened.cache_clear()
    names, before = [], descriptors()
    real = os.open
    monkeypatch.setattr(shards.os, "open", lambda path, flags: names.append(Path(path).name) or real(path, flags))
    for _ in range(3):
        assert all(packed.content(index) for index in range(len(packed)))
    assert sorted(names) == [file.name for file in packed.shards], "each once"
    assert descriptors() == before + len(names)
    shards._opened.cache_clear()
    assert descriptors() == before, "what is no longer kept is closed"


def test_other_processes_read_too(packed: PackedSet) -> None:
    """A forked one goes on with the files that are open; one that gets the set by pickle opens its own."""
    whole = [packed.content(index) for index in range(len(packed))]
    if not (child := os.fork()):
        os._exit(int([packed.content(index) for index in range(len(packed))] != whole))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    other = pickle.loads(pickle.dumps(packed))
    shards._opened.cache_clear()
    assert [other.content(index) for index in range(len(packed))] == whole and len(pickle.dumps(packed)) < 5000


def test_a_pack_in_the_place_of_another_is_read_afresh(packed: PackedSet, tmp_path: Path) -> None:
    assert packed.content(0)
    packed.root.rename(tmp_path / "old")
    photos(tmp_path / "loose", 8)
    (tmp_path / "loose/000.jpg").write_bytes(b"another")
    again = pack_photos(tmp_path / "loose", packed.root).open("train")
    assert again.content(0) == b"another"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Data(name="coco2017", root="pack"), "is a pack of folder, not of coco2017; choose data=folder"),
        (Data(name="folder", root="loose", stage="/scratch"), r"python -m golang.data pack \S*loose OUT --set folder"),
        (Data(name="toy", root="toys", toy=Toy(size=32)), "holds another toy set"),
    ],
)
def test_refused_settings(
    tmp_path: Path, packed: PackedSet, monkeypatch: pytest.MonkeyPatch, data: Data, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    layouts.provide(tmp_path / "toy", TOY, "coco")
    assert main(["pack", "toy", "toys"]) == 0
    for use in (sets.check_root, sets.open_train):
        with pytest.raises(DataError, match=said):
            use(data)
