"""The three pipelines make the same view of the same parameters, to a few levels of 255 (docs/performance.md)."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import data as bench
from benchmarks.photos import photos
from golang.config import Augment, Config, Data
from golang.data import decode, folder, jitter
from golang.data.augment import ViewParameters, draw
from golang.data.multicrop import MultiCrop, Pipeline, collate, on_device
from golang.errors import ConfigError
from golang.identity import run_id
from golang.randomness import Purpose, generator
from golang.validation import check

SMALL = Augment(large_size=64, small_size=32, small_count=3)
FAST: tuple[Pipeline, ...] = ("opencv", "device")
# Levels: the mean over all pixels, and the worst pixel; a hue by OpenCV, whose circle has finer steps, may be further.
MEAN, WORST = {"opencv": 1.2, "device": 0.8}, {"opencv": 16, "device": 8}


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [decode.decode(data) for data in photos(2, sizes=((200, 150), (150, 200)))]


@pytest.fixture(scope="module")
def folder_of_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos")
    for number, data in enumerate(photos(4, sizes=((120, 90),))):
        (path / f"{number}.jpg").write_bytes(data)
    return path


@pytest.mark.parametrize("pipeline", FAST)
@pytest.mark.parametrize("changes", bench.ALONE.values(), ids=bench.ALONE)
def test_each_operation_is_pillows(images: list[Image.Image], changes: dict, pipeline: Pipeline) -> None:
    mean, worst = bench.off(images, changes, pipeline)
    assert mean < MEAN[pipeline] and worst <= WORST[pipeline]
    if not changes or changes.keys() & {"flip", "gray"} == changes.keys():
        assert mean < 0.1 and worst <= 1, "nothing but the resize rounds otherwise"


def test_an_operation_left_out_would_be_seen(images: list[Image.Image]) -> None:
    view = ViewParameters((0, 0, 100, 100), False, None, False, None)
    without = bench.rendered(images[0], view, 64, "pil").double()
    for name, changes in bench.ALONE.items():
        with_it = bench.rendered(images[0], replace(view, **changes), 64, "pil").double()
        assert not changes or (with_it - without).abs().mean() > 1.2, name


def test_all_draw_the_same_parameters(folder_of_photos: Path) -> None:
    """With colours, grayscale and blur off only boxes and flips are left, and crops agree within a level."""
    plain = replace(SMALL, color_probability=0.0, gray_probability=0.0, blur_probability=0.0)
    sets = [MultiCrop(folder.read(folder_of_photos), plain, 3, name) for name in ("pil", *FAST)]
    assert all(one.parameters((1, 2), 120, 90) == sets[0].parameters((1, 2), 120, 90) for one in sets)
    batches = [collate([one[1, index] for index in range(4)]) for one in sets]
    crops = [on_device(batch, torch.device("cpu"), torch.float32) for batch in batches]
    for other in crops[1:]:
        for mine, pillows in zip(other, crops[0], strict=True):
            assert mine is not None and pillows is not None
            assert (mine - pillows).abs().max() < 1.1 / 255 / 0.224


def test_what_is_left_to_the_device_is_drawn_with_the_box(folder_of_photos: Path) -> None:
    dataset = MultiCrop(folder.read(folder_of_photos), SMALL, 3, "device")
    crops = dataset[2, 1]
    expected = [jitter.pack(view) for view in dataset.parameters((2, 1), 120, 90)]
    assert crops.jitter.shape == (5, jitter.COLUMNS)
    assert torch.equal(crops.jitter, torch.tensor(expected, dtype=torch.float32))
    rng = generator(3, Purpose.VIEW, 2, 1, 4)
    assert expected[4] == jitter.pack(draw(rng, 120, 90, 32, SMALL.small_scale, SMALL)), "counted, by view"
    for name in ("pil", "opencv"):
        assert MultiCrop(dataset.images, SMALL, 3, name)[2, 1].jitter.numel() == 0


def test_a_crop_does_not_depend_on_its_batch() -> None:
    """Any number of ranks, any batch: rows are adjusted one by one."""
    crops = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    views = [draw(generator(0, Purpose.VIEW, n), 99, 77, 32, (0.1, 1.0), SMALL) for n in range(6)]
    packed = torch.tensor([jitter.pack(view) for view in views])
    whole = jitter.adjust(crops, packed)
    assert not torch.equal(whole, crops)
    assert torch.equal(whole, torch.cat([jitter.adjust(crops[n : n + 1], packed[n : n + 1]) for n in range(6)]))


def test_neutral_parameters_change_nothing() -> None:
    crops = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    neutral = torch.tensor([jitter.pack(ViewParameters((0, 0, 1, 1), False, None, False, None))] * 2)
    assert torch.equal(jitter.adjust(crops, neutral), crops)


def test_the_pipeline_makes_another_run() -> None:
    ids = {run_id(Config(data=Data(name="folder", pipeline=name))) for name in ("pil", *FAST)}
    assert len(ids) == 3 and run_id(Config(data=Data(name="folder"))) in ids


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(data=Data(name="folder", root="x", pipeline="opencv"))
    check(config)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs OpenCV, .* pip install opencv-python-headless; or start another run"):
        check(config)
    check(replace(config, data=replace(config.data, pipeline="device")))
