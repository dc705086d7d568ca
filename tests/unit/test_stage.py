"""`data.stage`: a pack's files on a node's own disk, copied once, checked, and left aside where that cannot be."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from golang.config import Config, Data
from golang.config.identity import run_id
from golang.data import sets
from golang.data.packed import shards, stage
from golang.data.packed.index import Pack
from golang.data.packed.shards import PackedSet
from golang.disk import locks
from golang.engine.distributed import ControlGroup
from golang.engine.rank import Rank
from golang.engine.session import Outcome, Session, attempt
from golang.engine.stops import StopListener
from golang.errors import ConfigError, DataError
from golang.world import World
from tests.unit.test_damaged import photos
from tests.unit.test_packed import assert_same, flip, pack_photos

NODE = "node"  # the folder that data.stage names, below tmp_path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """A pack of nine photographs, to be staged to a folder that a variable names."""
    photos(tmp_path / "loose", 9)
    pack_photos(tmp_path / "loose", tmp_path / "pack")
    monkeypatch.setenv("TMPDIR", str(tmp_path / NODE))
    monkeypatch.setattr(stage, "_used", {})
    return Data(name="folder", root=str(tmp_path / "pack"), stage="$TMPDIR")


def copy(data: Data) -> int:
    """Stages the pack, about which there is nothing to say; the bytes that were copied."""
    told: list[int] = []
    assert sets.copy_to_node(data, ["train"], told.append) == ""
    return sum(told)


def folder_of(data: Data) -> Path:
    pack = Pack.at(Path(data.root or ""))
    assert pack is not None
    return stage._folder(pack, data.stage or "")


def staged(data: Data) -> Path | None:
    images = sets.open_train(data)
    assert isinstance(images, PackedSet)
    return images.staged


def test_copied_once_and_read_there(data: Data, tmp_path: Path) -> None:
    assert staged(data) is None
    files = [path for path in (tmp_path / "pack").iterdir() if path.suffix in (".tar", ".npz")]
    assert copy(data) == sum(path.stat().st_size for path in files) and copy(data) == 0
    folder = folder_of(data)
    assert folder.is_relative_to(tmp_path / NODE) and staged(data) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in files
    }
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
    images = sets.open_train(data)
    assert images.root == tmp_path / "pack" and str(images.path(0)).startswith(str(tmp_path / "pack"))
    for shard in files:
        shard.write_bytes(bytes(shard.stat().st_size))  # as large, so nothing but its content is missed
    assert_same(images, sets.open_train(Data(name="folder", root=str(tmp_path / "loose"))))


def test_a_killed_copy_goes_on_with_the_next_file(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(read: int) -> None:
        if (folder_of(data) / "train-00001.tar.part").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sets.copy_to_node(data, ["train"], killed)
    folder = folder_of(data)
    first = (folder / "train-00000.tar").stat()
    assert (folder / "train-00001.tar.part").exists() and staged(data) is None
    whole = sum(path.stat().st_size for path in Path(data.root or "").glob("train*"))
    assert copy(data) == whole - first.st_size - (folder / "train.npz").stat().st_size
    assert (folder / "train-00000.tar").stat().st_mtime_ns == first.st_mtime_ns
    assert staged(data) == folder and not list(folder.glob("*.part"))


def others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    another = os.getuid() + 1
    monkeypatch.setattr(stage.os, "getuid", lambda: another)
    folder.parent.rename(folder.parent.with_name(f"golang-{another}"))


def link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir(parents=True, mode=0o700)
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def wide_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir(parents=True)
    folder.parent.chmod(0o777)


def full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))


def no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.parent.write_text("a file")


def filled_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage, "_copy_file", fail)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (full, "1 kB are free there, .* too little .older copies in"),
        (others, "belongs to another user"),
        (link, "is a link or a file"),
        (wide_open, r"is open to others \(chmod 700 closes it\)"),
        (no_folder, "node: File exists"),
        (filled_up, "No space left on device"),
    ],
)
def test_what_keeps_a_copy_from_being_made_is_said(
    data: Data, prepare: Callable[[Path, pytest.MonkeyPatch], None], said: str, monkeypatch
) -> None:
    prepare(folder_of(data), monkeypatch)
    told: list[int] = []
    message = sets.copy_to_node(data, ["train"], told.append)
    assert message.startswith("data.stage=$TMPDIR is not used on ") and message.endswith(f"; reading from {data.root}")
    assert re.search(said, message) and not any(told)
    assert staged(data) is None and sets.open_train(data).content(0)


def test_a_damaged_pack_is_not_copied(data: Data) -> None:
    flip(Path(data.root or "") / "train-00001.tar")
    with pytest.raises(DataError, match=r"train-00001\.tar: its SHA-256 is not .* golang\.data check"):
        copy(data)
    assert staged(data) is None


@pytest.mark.parametrize("name", ["$NO_SUCH_VARIABLE", "${NO_SUCH}/x", "$EMPTY", "~no-such-user/x"])
def test_a_variable_that_is_not_set(data: Data, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    data = Data(name="folder", root=data.root, stage=name)
    with pytest.raises(ConfigError, match="name a folder of the node's own"):
        copy(data)
    assert staged(data) is None, "where nothing is trained, such as on a login node, that stops nobody"


def test_a_copy_that_goes_away_is_done_without(data: Data, caplog: pytest.LogCaptureFixture) -> None:
    copy(data)
    images = sets.open_train(data)
    shutil.rmtree(folder_of(data))
    shards._opened.cache_clear()
    shards._say.cache_clear()
    assert all(images.content(index) for index in range(9))
    assert sum("cannot be read (No such file" in record.getMessage() for record in caplog.records) == 1


def test_removed_by_the_last_that_uses_it(data: Data) -> None:
    with stage.released(keep=True):
        copy(data)
    folder = folder_of(data)
    assert staged(data) == folder and not stage._used
    other = locks.opened(folder.with_suffix(".use"))
    assert locks.taken(other, shared=True)
    with stage.released(keep=False):
        assert copy(data) == 0
    assert staged(data) == folder, "another run reads it"
    os.close(other)
    with stage.released(keep=False):
        copy(data)
    assert not folder.exists() and staged(data) is None


def test_one_copies_and_the_others_wait(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ranks of a node, whose threads hold locks of their own here."""
    real, begun, told = stage._copy_file, [], {0: [], 1: []}

    def slow(*arguments: object) -> None:
        begun.append(threading.get_ident())
        time.sleep(0.1)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "_copy_file", slow)
    ranks = [threading.Thread(target=sets.copy_to_node, args=(data, ["train"], told[n].append)) for n in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert len(set(begun)) == 1 and len(begun) == len(list(folder_of(data).iterdir()))
    assert all(len(ticks) > 1 and sum(ticks) > 0 for ticks in told.values()), "the progress of one is that of all"


@pytest.mark.parametrize("suffix", [".copy", ".use"])
def test_a_process_that_gets_no_further_is_not_waited_for(
    data: Data, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that Slurm suspended, say."""
    monkeypatch.setattr(stage, "PATIENCE", 0.3)
    folder = folder_of(data)
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    suspended = locks.opened(folder.with_suffix(suffix))
    assert locks.taken(suspended)
    message = sets.copy_to_node(data, ["train"], lambda further: None)
    assert "to itself and gets no further; reading from" in message and staged(data) is None
    os.close(suspended)
    assert copy(data) > 0 and staged(data) == folder


def test_outside_of_the_identity() -> None:
    assert run_id(Config.from_dict({"data": {"stage": "/scratch", "keep_staged": False}})) == run_id(Config())


@pytest.fixture
def rank() -> Rank:
    return Rank(World(), torch.device("cpu"), ControlGroup(World()), StopListener())


def test_progress_apart_counts_as_progress(tmp_path: Path, rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a hang may take, with progress all the while; then a stop, which the work hears of."""
    monkeypatch.setattr("golang.engine.stops.LOOK", 0.05)
    config, heard = Config.from_dict({"hang_seconds": 0.5, "device": "cpu"}), []

    def long(tick: Callable[[int], None]) -> None:
        for _ in range(10):
            time.sleep(0.1)
            tick(1)

    def stopped(tick: Callable[[int], None]) -> None:
        rank.listener.signal = 15
        try:
            while True:
                tick(0)
                time.sleep(0.01)
        except BaseException as error:
            heard.append(error)
            raise

    def work(session: Session) -> Callable[[], str]:
        session.apart("copying", long)
        session.apart("copying", stopped)
        raise AssertionError("the stop was not heard of")

    assert attempt(config, tmp_path / "run", rank, [], work) is Outcome.STOPPED
    deadline = time.monotonic() + 60
    while not heard and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(heard) == 1
