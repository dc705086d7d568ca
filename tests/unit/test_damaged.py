"""Odd and damaged image files: what is converted, what stands in for the rest, and what a run makes of it."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from golang.config import Augment, Config
from golang.data import decode
from golang.data.crops.multicrop import MultiCrop
from golang.data.decode import UnreadableImageError
from golang.data.images import ImageSet
from golang.data.loader import close, own_words, train_loader
from golang.data.readers.coco import Coco
from golang.data.readers.folder import Folder
from golang.data.sampler import StepSampler
from golang.engine.distributed import ControlGroup
from golang.errors import DataError, StorageError
from golang.evaluation.features import pooled_features
from golang.method.trunk import build_trunk
from golang.processes.train import train
from golang.training.unreadable import Unreadable
from golang.world import World
from tests.resume.harness import Fault, differences, final_state, launch, metrics, settings
from tests.unit.test_data import save, write_coco

SMALL = replace(Augment(), large_size=32, small_size=16, small_count=2)


def cut(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def photos(root: Path, count: int, damaged: tuple[int, ...] = ()) -> ImageSet:
    for n in range(count):
        save(root / f"{n:03d}.jpg", n)
        if n in damaged:
            cut(root / f"{n:03d}.jpg")
    return Folder().read(root)


def test_odd_files_are_converted(tmp_path: Path) -> None:
    for name, mode in (("gray.jpg", "L"), ("cmyk.jpg", "CMYK"), ("palette.png", "P"), ("alpha.png", "RGBA")):
        save(tmp_path / name, 1, mode)
    save(tmp_path / "really-a-png.png", 1)
    (tmp_path / "really-a-png.png").rename(tmp_path / "suffix.jpg")
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "pixel.png")
    Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    images = Folder().read(tmp_path)
    assert len(images) == 7
    by_name = {images.path(i).name: images.load(i) for i in range(7)}
    assert {image.mode for image in by_name.values()} == {"RGB"}
    assert by_name["pixel.png"].getpixel((0, 0)) == (9, 8, 7)
    assert [by_name["deep.png"].getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255], "16 bits scaled, not cut off"
    whole = np.asarray(by_name["suffix.jpg"])
    assert np.array_equal(whole, np.asarray(by_name["alpha.png"])), "told by its content, not by its suffix"
    pixel = next(i for i in range(7) if images.path(i).name == "pixel.png")
    large, small, unreadable, _ = MultiCrop(images, SMALL, 0)[0, pixel]
    assert large.shape == (2, 3, 32, 32) and small.shape == (2, 3, 16, 16) and not len(unreadable)


def test_exif_orientation(tmp_path: Path) -> None:
    """Photographs of one's own are turned upright; the benchmark sets are read as the published code reads them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=exif)
    assert Folder().read(tmp_path).load(0).size == (24, 32)
    assert ImageSet.of(tmp_path, ["a.jpg"]).load(0).size == (32, 24)
    root = write_coco(tmp_path / "coco", 2017)
    shutil.copy(tmp_path / "a.jpg", Coco(2017).read(root, "train").path(0))
    assert Coco(2017).read(root, "train").load(0).size == (32, 24)


def test_damaged_exif_leaves_the_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert Folder().read(tmp_path).load(0).size == (32, 24)


def test_pillows_bound_on_pixels_is_lifted_to_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", 0)  # 24 × 32
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow raises beyond twice its bound
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.png")
    assert decode.read(tmp_path / "a.png").size == (32, 24)
    assert Image.MAX_IMAGE_PIXELS == 100, "other users of Pillow keep theirs"
    monkeypatch.setattr(decode, "MOST_PIXELS", 767)
    with pytest.raises(UnreadableImageError, match="32 × 24 pixels are more than 767; scale it down"):
        decode.read(tmp_path / "a.png")


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "cut.jpg", 0)
    cut(tmp_path / "cut.jpg")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    for name, reason in (
        ("cut.jpg", "[Tt]runcated"),
        ("text.png", "no image in any known format"),
        ("empty.jpg", "the file is empty"),
        ("gone.jpg", "No such file"),
    ):
        with pytest.raises(UnreadableImageError, match=rf"{name}[\s\S]*{reason}") as error:
            ImageSet.of(tmp_path, [name]).load(0)
        assert "python -m golang.data check" in str(error.value)


def test_the_next_readable_image_stands_in(tmp_path: Path) -> None:
    images = photos(tmp_path, 200, damaged=(7, 8, 199))
    assert images.most_unreadable == 2
    dataset = MultiCrop(images, SMALL, seed=3)
    for index, stand_in in ((7, 9), (8, 9), (199, 0)):
        image, nearest = images.load_nearest(index)
        assert nearest == stand_in and np.array_equal(np.asarray(image), np.asarray(images.load(stand_in)))
        large, _, unreadable, _ = dataset[4, index]
        assert unreadable.tolist() == [index]
        assert torch.equal(large, dataset[4, index][0])
        assert not torch.equal(large, dataset[4, stand_in][0]), "its own crops of the neighbour's pixels"


def test_more_in_a_row_than_may_be_unreadable(tmp_path: Path) -> None:
    """The worker's error arrives in its own words, without torch's traceback around it."""
    images = photos(tmp_path, 5, damaged=(1, 2))
    with pytest.raises(DataError, match=r"001\.jpg[\s\S]*more than 1 % of the set"):
        images.load_nearest(1)
    iterator = iter(train_loader(MultiCrop(images, SMALL, 0), StepSampler(5, 5, 1, 0), 1, pin_memory=False))
    with pytest.raises(DataError) as error:
        next(iterator)
    close(iterator)
    said = str(own_words(error.value))
    assert said.startswith("cannot read image 1, ") and "Traceback" not in said
    assert str(own_words(DataError("as it is"))) == "as it is"
    assert isinstance(own_words(StorageError("it fails")), StorageError)


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    """Nobody writes to it: who reads it waits for ever."""
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImageError, match="pipe"):
        decode.read(tmp_path / "a.jpg")


def test_a_transient_error_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photos(tmp_path, 3)
    real, failures, pauses = decode._content, [], []

    def flaky(path: Path) -> bytes:
        if path.name == "001.jpg" and failures:
            raise OSError(failures.pop(), "moody file server")
        return real(path)

    monkeypatch.setattr(decode, "_content", flaky)
    monkeypatch.setattr(decode.time, "sleep", pauses.append)
    failures[:] = [errno.EIO, errno.ESTALE, errno.ETIMEDOUT]
    assert images.load(1).size == (32, 24) and pauses == [0.1, 0.5, 2.0]
    failures[:] = [errno.EIO] * 5
    with pytest.raises(StorageError, match=r"001\.jpg could not be read in 5 tries: moody file server") as error:
        images.load_nearest(1)
    assert not isinstance(error.value, UnreadableImageError), "no neighbour stands in: the result would depend on luck"
    failures[:] = [errno.EACCES]
    with pytest.raises(UnreadableImageError, match="PermissionError"):
        images.load(1)
    assert failures == [], "an error that will not pass is not tried again"


def test_named_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = photos(tmp_path, 250, damaged=(3, 70, 200))
    control = ControlGroup(World())
    seen = Unreadable(images, tmp_path)
    with caplog.at_level(logging.WARNING, "golang"):
        assert seen.agree(control, name=True) == 0
        seen.note(torch.tensor([70]))
        seen.note(torch.tensor([70]))
        assert seen.agree(control, name=True) == seen.agree(control, name=True) == 1
    assert [record.getMessage().count("070.jpg") for record in caplog.records] == [1]
    again = Unreadable(images, tmp_path)
    again.restore(torch.stack([seen.pack(), torch.zeros_like(seen.pack())]))
    caplog.clear()
    with caplog.at_level(logging.WARNING, "golang"):
        assert again.agree(control, name=True) == 1 and not caplog.records
    again.note(torch.tensor([3, 200]))
    with pytest.raises(DataError, match=r"3 of 250 images are unreadable so far, more than 1 %") as error:
        again.agree(control, name=True)
    assert f"python -m golang.data check {tmp_path}" in str(error.value)
    mended = Unreadable(images, tmp_path)
    mended.restore(again.pack()[None])
    save(tmp_path / "003.jpg", 3)
    assert mended.agree(control, name=True) == 3, "what was mended meanwhile does not stop a run"


@pytest.fixture
def damaged(tmp_path: Path) -> Config:
    """120 small images of which one is damaged, for a run of 2 epochs of 15 steps."""
    photos(tmp_path / "set", 120, damaged=(31,))
    return settings(
        tmp_path / "set", data={"name": "folder", "workers": 1}, optim={"epochs": 2}, queue={"local_length": 0}
    )


def test_a_run_with_a_damaged_image_resumes_exactly(damaged: Config, tmp_path: Path) -> None:
    assert launch(damaged, tmp_path / "whole", ranks=2) == [0, 0]
    assert launch(damaged, tmp_path / "cut", ranks=2, fault=Fault(17)) == [75, 75]
    assert launch(damaged, tmp_path / "cut", ranks=2) == [0, 0]
    assert differences(final_state(tmp_path / "cut"), final_state(tmp_path / "whole")) == []
    lines = metrics(tmp_path / "cut")
    assert lines == metrics(tmp_path / "whole")
    assert lines[-1]["unreadable_images"] == 1 and lines[-1]["step"] == 30
    for run in ("whole", "cut"):
        logs = [path.read_text() for path in (tmp_path / run).glob("attempts/*/rank*.log")]
        assert sum(text.count("031.jpg") for text in logs) == 1, "named once, in two epochs and on either rank"


def test_too_many_stop_the_run(tmp_path: Path) -> None:
    photos(tmp_path / "set", 44, damaged=(5,))
    config = settings(tmp_path / "set", data={"name": "folder", "workers": 0})
    with pytest.raises(DataError, match="1 of 44 images are unreadable so far"):
        train(config, tmp_path / "run", show_progress=False)
    cause = json.loads((tmp_path / "run/attempts/00/cause.json").read_text())
    assert cause["cause"] == "data" and "golang.data check" in cause["message"]


def test_evaluation_leaves_unreadable_images_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = photos(tmp_path, 101, damaged=(7,))
    trunk, cpu = build_trunk("small"), torch.device("cpu")
    (rows,), kept = pooled_features([trunk], images, cpu, whole=True)
    assert kept.tolist() == [i for i in range(101) if i != 7] and len(rows) == 100
    assert "1 of 101 images" in caplog.text and "golang.data check" in caplog.text
    (again,), _ = pooled_features([trunk], ImageSet.of(tmp_path, ["008.jpg"]), cpu, whole=True)
    np.testing.assert_allclose(rows[7], again[0], rtol=1e-5, atol=1e-6)
    cut(tmp_path / "050.jpg")
    with pytest.raises(DataError, match=r"2 of 101 images .* too many to evaluate on"):
        pooled_features([trunk], images, cpu, whole=True)
