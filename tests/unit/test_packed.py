"""Packs: the same set as its loose files, in tar archives, whatever happens while one is written or read."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from golang.config import Config, Data, Part, Toy
from golang.config.identity import run_id
from golang.data import check, decode, sets
from golang.data.__main__ import main
from golang.data.images import ImageSet
from golang.data.packed import plan, tar, write
from golang.data.packed.index import PACK, UNFINISHED, Pack
from golang.data.packed.shards import PackedSet
from golang.data.readers.fingerprint import fingerprint
from golang.data.readers.folder import Folder
from golang.data.toy import layouts
from golang.disk import locks
from golang.errors import DataError
from golang.settled import identified
from tests.unit.test_damaged import photos
from tests.unit.test_data import save, write_coco
from tests.unit.test_voc import write_imagenet, write_voc

TOY = Toy(classes=5, size=16, train=12, val=6, seed=3)
FOLDER = Data(name="folder")
SPLITS = ("val", "train", "train")


def content(images: ImageSet, index: int) -> bytes | None:
    try:
        return images.content(index)
    except DataError:
        return None


def assert_same(packed: ImageSet, loose: ImageSet) -> None:
    """All that training and evaluations see of a set."""
    assert isinstance(packed, PackedSet) and not isinstance(loose, PackedSet) and len(packed) == len(loose) > 0
    assert [packed.name(i) for i in range(len(loose))] == [loose.name(i) for i in range(len(loose))]
    assert [content(packed, i) for i in range(len(loose))] == [content(loose, i) for i in range(len(loose))]
    assert packed.sizes().tolist() == loose.sizes().tolist()
    assert (packed.classes, packed.upright) == (loose.classes, loose.upright)
    assert (packed.labels is None) == (loose.labels is None)
    assert loose.labels is None or (packed.labels is not None and np.array_equal(packed.labels, loose.labels))


def pack_photos(root: Path, out: Path, shard_size: int = 7000) -> Pack:
    return write.pack({"train": Folder().read(root)}, FOLDER, out, shard_size)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("coco2014", lambda root: write_coco(root, 2014)),
        ("coco2017", lambda root: write_coco(root, 2017)),
        ("voc2007", lambda root: write_voc(root, 2007)),
        ("imagenet", write_imagenet),
        ("toy", lambda root: layouts.provide(root, TOY, "coco")),
    ],
)
def test_every_set_is_read_as_its_loose_files_are(
    tmp_path: Path, name: str, make: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "loose")
    assert main(["pack", str(tmp_path / "loose"), str(tmp_path / "pack"), "--shard-size", "5kB"]) == 0
    assert f"train with data={name} data.root={tmp_path / 'pack'}" in capsys.readouterr().out
    loose, packed = (Data(name=name, root=str(tmp_path / which), toy=TOY) for which in ("loose", "pack"))  # type: ignore[arg-type]
    shutil.copytree(tmp_path / "loose", tmp_path / "kept")
    sets.check_root(packed, ("train", "val"))
    for opened in (sets.open_train, sets.open_val):
        assert_same(opened(packed), opened(loose))
    assert sets.open_train(packed, labelled=False).labels is None
    assert len(Pack.at(tmp_path / "pack").parts["train"].shards) > 1  # type: ignore[union-attr]
    shutil.rmtree(tmp_path / "loose")
    for images in sets.open_labelled(packed):
        assert images.load(0).mode == "RGB", "nothing is read from the loose files"


@pytest.mark.parametrize("holdout", [0, 0.4])
def test_a_set_of_ones_own(tmp_path: Path, holdout: float, capsys: pytest.CaptureFixture[str]) -> None:
    """With all that a list says: splits, classes, unknown labels; and with images that are held out."""
    photos(tmp_path / "photos", 9)
    lines = [
        "image,cat,dog,split",
        *(f"photos/{n:03d}.jpg,{n % 2},{'' if n < 4 else 1},{SPLITS[n % 3]}" for n in range(9)),
    ]
    if holdout:  # the last column goes
        lines = [line.rpartition(",")[0] for line in lines]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    command = ["pack", str(tmp_path / "list.csv"), str(tmp_path / "pack"), "--holdout", str(holdout)]
    assert main(command) == 0
    assert ("data.holdout=0.4" in capsys.readouterr().out) == bool(holdout)
    loose = Data(name="list", root=str(tmp_path / "list.csv"), holdout=holdout)
    packed = Data(name="list", root=str(tmp_path / "pack"), holdout=holdout)
    for open_split, count in ((sets.open_train, 5 if holdout else 6), (sets.open_val, 4 if holdout else 3)):
        assert_same(open_split(packed), open_split(loose))
        assert fingerprint(open_split(packed)) == fingerprint(open_split(loose)) and len(open_split(packed)) == count
    runs = [run_id(identified(Config(data=data))) for data in (loose, packed)]
    assert runs[0] == runs[1] != run_id(Config(data=packed)), "one run, wherever its images lie"
    assert main(["check", str(tmp_path / "pack")]) == 0
    with pytest.raises(DataError, match=r"was packed with data\.holdout="):
        sets.check_root(Data(name="list", root=str(tmp_path / "pack"), holdout=0.2))
    with pytest.raises(DataError, match="has its own images to evaluate on"):
        sets.check_root(Data(name="list", root=str(tmp_path / "pack"), holdout=holdout, val=Part(images=("x.csv",))))


def test_shards_are_plain_tar_archives(tmp_path: Path) -> None:
    """Names that ustar cannot hold too, and the time a file was last changed."""
    names = ["a.jpg", "ä ö/ü.jpg", "b" * 120 + ".jpg", os.fsdecode(b"\xff.png"), "c/" + "d/" * 60 + "e.jpg"]
    for number, name in enumerate(names):
        save(tmp_path / "loose" / name, number)
        os.utime(tmp_path / "loose" / name, (0, 10**9 + number))
    loose = ImageSet.of(tmp_path / "loose", names)
    pack = write.pack({"train": loose}, FOLDER, tmp_path / "pack")
    assert_same(pack.open("train"), loose)
    (shard,) = pack.parts["train"].shards
    with tarfile.open(tmp_path / "pack" / shard.name) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == names
        assert [int(member.mtime) for member in members] == [10**9 + number for number in range(len(names))]
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    command = ["tar", "-xf", str(tmp_path / "pack" / shard.name), "-C", str(unpacked)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""
    assert [(unpacked / name).read_bytes() for name in names] == [loose.content(i) for i in range(len(names))]
    sizes = loose.sizes()
    assert int(tar.room(loose.names, loose.offsets, sizes).sum()) + 1024 >= shard.bytes, "room is not guessed low"


def test_damaged_and_missing_images_stay_what_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loose = photos(tmp_path / "loose", 200, damaged=(7, 150))
    (tmp_path / "loose/008.jpg").unlink()
    (tmp_path / "loose/009.jpg").write_bytes(b"")
    out = tmp_path / "pack"
    images = write.pack({"train": loose}, FOLDER, out, 10**5).open("train")
    assert "1 of the 200 train images could not be read" in caplog.text and "008.jpg" in caplog.text
    assert_same(images, loose)
    assert [images.nearest(i, len_of)[1] for i in (6, 8)] == [loose.nearest(i, len_of)[1] for i in (6, 8)] == [6, 10]
    for index, said in (
        (7, "/train-00000.tar:007.jpg: OSError"),
        (8, "/train.npz:008.jpg: it could not be read when"),
        (9, "/train-00000.tar:009.jpg: the file is empty"),
    ):
        with pytest.raises(decode.UnreadableImageError, match=f"cannot read image {index}, {out}{said}"):
            images.load(index)
    places = [Data(name="folder", root=str(root)) for root in (out, loose.root)]
    report, loosely = (next(check.examine(data, False, nothing, workers=2)) for data in places)
    assert report.missing == ["train.npz:008.jpg"] and report.empty == ["train-00000.tar:009.jpg"]
    assert [line.partition(":")[2] for line in report.unreadable] == loosely.unreadable and len(report.unreadable) == 2
    with pytest.raises(IndexError):
        images.path(200)


def len_of(data: bytes, upright: bool) -> int:
    if not data:
        raise decode.UnreadableImageError("empty")
    return len(data)


def nothing(done: int, total: int) -> None:
    """Nobody looks at the progress."""


def test_an_interrupted_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    loose, out = photos(tmp_path / "loose", 9), tmp_path / "pack"
    command = ["pack", str(loose.root), str(out), "--shard-size", "7kB"]
    real = write._member

    def killed(images: ImageSet, index: int) -> tuple[bytes, int] | None:
        if index == 6:
            raise KeyboardInterrupt
        return real(images, index)

    monkeypatch.setattr(write, "_member", killed)
    assert main(command) == 130 and "goes on with the next file" in capsys.readouterr().out
    finished = {path.name: path.stat().st_ino for path in out.glob("*.tar")}
    assert len(finished) > 1
    with pytest.raises(DataError, match="is a pack that is not finished; type its command again"):
        sets.open_train(Data(name="folder", root=str(out)))
    monkeypatch.setattr(write, "_member", real)
    (out / "train-00001.tar").write_bytes(b"cut short by a full disk")
    assert main([*command[:-1], "5kB"]) == 2 and "with another --shard-size" in capsys.readouterr().out
    assert main(command) == 0
    there = {path.name: path.stat().st_ino for path in out.glob("*.tar")}
    assert there["train-00000.tar"] == finished["train-00000.tar"], "what was finished is not written again"
    assert there["train-00001.tar"] != finished["train-00001.tar"] and len(there) > len(finished)
    assert_same(Pack.at(out).open("train"), loose)  # type: ignore[union-attr]
    whole = pack_photos(loose.root, tmp_path / "whole")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in whole.root.iterdir()
    }, "the pack that an undisturbed command writes, and nothing besides"
    assert main(command) == 0, "what is packed already is left alone"


def test_what_was_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loose, out, real = photos(tmp_path / "loose", 9), tmp_path / "pack", write._read_back

    def rotten(out: Path, parts) -> None:
        flip(out / "train-00001.tar")
        real(out, parts)

    monkeypatch.setattr(write, "_read_back", rotten)
    with pytest.raises(DataError, match=r"train-00001\.tar is not what was written to it: its SHA-256"):
        pack_photos(loose.root, out)
    assert not (out / PACK).exists()
    monkeypatch.setattr(write, "_read_back", real)
    assert_same(pack_photos(loose.root, out).open("train"), loose)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def another_packs(out: Path) -> None:
    (out / UNFINISHED).mkdir(parents=True)
    descriptor = locks.opened(out / UNFINISHED / "lock")  # closed when the test's process ends
    assert locks.taken(descriptor)


def the_pack_of_what_was(out: Path) -> None:
    """Before the set changed."""
    pack_photos(out.parent / "loose", out)
    save(out.parent / "loose/004.jpg", 11)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda out: save(out / "own.jpg", 0), "holds something else, such as own.jpg"),
        (lambda out: out.write_text("x"), "is a file; name a new folder"),
        (the_pack_of_what_was, "holds another pack .*, and nothing is overwritten"),
        (another_packs, "another process is packing into"),
    ],
)  # fmt: skip
def test_refused_places(tmp_path: Path, prepare: Callable[[Path], object], said: str) -> None:
    photos(tmp_path / "loose", 5)
    out = tmp_path / "pack"
    prepare(out)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=said):
        pack_photos(tmp_path / "loose", out)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_refused_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "two", 2014), write_coco(tmp_path / "two", 2017)
    shutil.rmtree(write_coco(tmp_path / "half", 2017) / "val2017")
    pack_photos(photos(tmp_path / "loose", 5).root, tmp_path / "pack")
    for command, said in (
        (["two", "out"], "holds coco2014 and coco2017; say which to pack, as in --set coco2014"),
        (["half", "out"], "val2017 does not exist"),
        (["half", "out"], "--split train packs the train images alone"),
        (["pack", "out"], "is a pack already"),
        (["gone", "out"], "gone is not a folder"),
        (["loose", "out", "--holdout", "2"], "data.holdout=2.0 must be from 0 to below 1"),
        (["loose", "out", "--holdout", "0.2"], "data.holdout=0.2 goes with data=list or coco"),
    ):
        assert main(["pack", *(str(tmp_path / name) for name in command[:2]), *command[2:]]) == 2
        assert said in capsys.readouterr().out and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main(["pack", str(tmp_path / "loose"), str(tmp_path / "out"), "--shard-size", "large"])
    assert "'large' is no size; 1GB and 500MB are" in capsys.readouterr().err
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda place: SimpleNamespace(free=10))
    assert main(["pack", str(tmp_path / "loose"), str(tmp_path / "out")]) == 2
    assert "the pack takes" in (out := capsys.readouterr().out) and "10 bytes are free there" in out
    monkeypatch.undo()
    assert main(["pack", str(tmp_path / "half"), str(tmp_path / "out"), "--split", "train"]) == 0
    data = Data(name="coco2017", root=str(tmp_path / "out"))
    assert len(sets.open_train(data)) == 5
    with pytest.raises(DataError, match="a pack of coco2017 without its val images"):
        sets.check_root(data, ("train", "val"))
