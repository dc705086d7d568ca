"""The fast pipelines: Pillow's pixels within stated levels, the same parameters everywhere, exact on resume."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from benchmarks.levels import FAST, differences
from benchmarks.photos import photos
from golang.config import Augment, Config
from golang.config import checks as validation
from golang.data import decode, pixels
from golang.data.crops import device, opencv, pillow
from golang.data.crops.draw import ViewParameters, draw
from golang.data.crops.multicrop import NUM_LARGE, MultiCrop, collate, on_device
from golang.data.loader import close, train_loader
from golang.data.readers.folder import Folder
from golang.data.sampler import StepSampler
from golang.errors import ConfigError
from golang.randomness import Purpose, generator
from tests.unit.test_data import save

SMALL = replace(Augment(), large_size=32, small_size=16, small_count=2)
CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # of what the device adjusts
# Mean and worst levels of 255 off Pillow's; docs/performance.md has the figures at full size.
EXACT, ROUNDED = (0.0, 0), (0.05, 1)
TOLERANCE = {
    "decode": (EXACT, EXACT),
    "resize": (ROUNDED, ROUNDED),
    "flip": (EXACT, EXACT),
    "brightness": (ROUNDED, EXACT),
    "contrast": (ROUNDED, EXACT),
    "saturation": ((0.2, 1), EXACT),
    "hue": ((0.6, 12), (0.02, 3)),
    "grayscale": (ROUNDED, EXACT),
    "blur": ((0.7, 25), (0.6, 4)),  # OpenCV repeats the edge once, Pillow anew for each of three boxes
    "all": ((1.0, 40), (0.6, 20)),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for number, data in enumerate(photos(4, sizes=((80, 60), (64, 90)))):
        (root / f"{number}.jpg").write_bytes(data)
    for number in range(4, 8):
        save(root / f"{number}.png", number)
    return root


def dataset(root: Path, pipeline: str, settings: Augment = SMALL) -> MultiCrop:
    return MultiCrop(Folder().read(root), settings, 3, pipeline)  # type: ignore[arg-type]


def test_levels_are_pillows_within_the_tolerances() -> None:
    found = differences(photos(3, sizes=((80, 60), (64, 90), (70, 70))), (32, 16), draws=16)
    assert found.keys() == TOLERANCE.keys()
    for name, allowed in TOLERANCE.items():
        limits = dict(zip(("opencv", "device"), allowed, strict=True))
        for pipeline in FAST:
            off, (mean, worst) = found[name][pipeline], limits[pipeline]
            assert off.mean <= mean and off.worst <= worst, (name, pipeline, off)
    for pipeline in FAST:
        assert found["blur"][pipeline].mean > 0 and found["hue"][pipeline].mean > 0, "the comparison sees something"


@pytest.mark.skipif("opencv" not in FAST, reason="opencv-python-headless is not installed")
def test_away_from_the_edge_opencvs_blur_is_pillows() -> None:
    data = photos(1, sizes=((96, 96),))[0]
    for radius in (0.1, 0.6, 1.2, 1.9):
        view = ViewParameters((0, 0, 96, 96), False, None, False, radius)
        off = opencv.apply(pixels.pixels(data), view, 96).int() - pillow.apply(decode.decode(data), view, 96).int()
        assert off[:, 8:-8, 8:-8].abs().max() <= 4


def test_parameters_are_equal_on_all_paths(pictures: Path) -> None:
    """Drawn alike, and applied alike: whole views of one image are closer to each other than to any other view."""
    drawn = {name: dataset(pictures, name).parameters((2, 5), 32, 24) for name in ("pil", *FAST)}
    assert all(parameters == drawn["pil"] for parameters in drawn.values()) and len(drawn["pil"]) == 4
    for position in ((0, 1), (2, 3), (5, 0)):
        crops = {name: on_device(collate([dataset(pictures, name)[position]]), CPU, torch.float32) for name in drawn}
        for fast in FAST:
            for views, expected in zip(crops[fast], crops["pil"], strict=True):
                assert views is not None and expected is not None
                off = (views[:, None] - expected).abs().flatten(2).mean(2)
                assert off.argmin(1).tolist() == list(range(len(views))) and off.diagonal().max() < 0.05


def test_what_is_left_to_the_device_is_packed_with_the_crops(pictures: Path) -> None:
    items = [dataset(pictures, "device")[1, index] for index in range(3)]
    batch = collate(items)
    assert batch.jitter.shape == (NUM_LARGE + 2, 3, device.COLUMNS)
    large, small = on_device(batch, CPU, torch.float64)
    assert large.dtype == torch.float64 and small is not None and small.shape == (6, 3, 16, 16)
    for index, item in enumerate(items):
        alone = on_device(collate([item]), CPU, torch.float64)
        assert alone[1] is not None
        assert torch.equal(large[index::3], alone[0]) and torch.equal(small[index::3], alone[1])
    none = dataset(pictures, "device", replace(SMALL, small_count=0))
    assert on_device(collate([none[1, 0]]), CPU, torch.float32)[1] is None


@pytest.mark.parametrize("pipeline", FAST)
def test_workers_ranks_and_resuming_change_nothing(pictures: Path, pipeline: str) -> None:
    """Bit for bit, up to what the network gets: two loader processes, two ranks, and a start in the middle."""
    views = dataset(pictures, pipeline)

    def tensors(workers: int, start: int = 0, rank: int = 0, ranks: int = 1) -> list[list[torch.Tensor]]:
        sampler = StepSampler(8, 4, 5, 3, rank=rank, world=ranks, start_step=start)
        iterator = iter(train_loader(views, sampler, workers, pin_memory=False))
        batches = [on_device(batch, CPU, torch.float32) for batch in iterator]
        close(iterator)
        return [[group.clone() for group in batch if group is not None] for batch in batches]

    whole = tensors(0)
    assert len(whole) == 5
    halves = [tensors(0, rank=rank, ranks=2) for rank in range(2)]
    for step, (large, small) in enumerate(whole):
        for group, number in ((large, 0), (small, 1)):
            parts = [half[step][number].unflatten(0, (2, -1)) for half in halves]
            assert torch.equal(group.unflatten(0, (2, -1)), torch.cat(parts, dim=1))
    for other in (tensors(2), whole[:3] + tensors(0, start=3)):
        assert all(torch.equal(a, b) for x, y in zip(whole, other, strict=True) for a, b in zip(x, y, strict=True))


def test_jitter_asks_for_deterministic_forms_only(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch raises in this mode where an operation of a device has none."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as the trainer does: without it no product has one
    batch = collate([dataset(pictures, "device")[1, index] for index in range(3)])
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, again = (on_device(batch, DEVICE, torch.float32)[0] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(before)
    assert torch.equal(first, again) and bool(first.isfinite().all())


def test_the_device_turns_every_pure_colour_as_pillow_does() -> None:
    """Every saturated colour of the circle and every gray, each sector and its borders, by every order of jitter."""
    ramp = np.arange(256)
    colors = [np.stack([ramp] * 3, 1)]
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for level in (0, 255):
            row = np.zeros((256, 3), int)
            row[:, a], row[:, b], row[:, c] = level, ramp, 255 - level
            colors.append(row)
    image = Image.fromarray(np.concatenate(colors).astype(np.uint8).reshape(-1, 32, 3))
    square = image.resize((56, 56), Image.Resampling.NEAREST)
    pixels = functional.pil_to_tensor(square)[None]
    views = []
    for number in range(24):
        drawn = draw(generator(1, Purpose.VIEW, number), 56, 56, (1, 1), Augment(color_probability=1.0))
        views.append(ViewParameters((0, 0, 56, 56), drawn.flip, drawn.color, drawn.gray, None))
    packed = torch.tensor([device.pack(view) for view in views], device=DEVICE)
    got = device.adjust(pixels.to(DEVICE).expand(24, -1, -1, -1), packed).cpu().int()
    expected = torch.stack([pillow.apply(square, view, 56) for view in views]).int()
    assert (got - expected).abs().float().mean() < 0.2 and (got - expected).abs().max() <= 16


def encoded(mode: str = "RGB", **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(noise).resize((151, 97)).convert(mode)
    image.save(file, "JPEG", **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        *(encoded(quality=q, subsampling=s, progressive=p) for q in (50, 95) for s in (0, 1, 2) for p in (False, True)),
        encoded("L"),
        encoded("CMYK"),
        encoded(exif=exif(6)),
        encoded(exif=exif(1)),
        encoded() + b"trailing bytes",
    ],
)
def test_pixels_are_those_pillow_decodes(data: bytes, upright: bool) -> None:
    expected = torch.from_numpy(np.array(decode.decode(data, upright))).permute(2, 0, 1)[None]
    got = pixels.pixels(data, upright)
    assert got.dtype == torch.uint8 and torch.equal(got, expected)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_damaged_files_are_judged_as_by_pillow() -> None:
    """Cut at any place, or with any bytes overwritten: the same pixels, or unreadable for both."""
    whole, rng = encoded(quality=80), np.random.default_rng(1)
    damaged = [whole[:length] for length in (0, 1, 2, 3, 20, 400, len(whole) // 2, len(whole) - 2, len(whole) - 1)]
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 2):
            data[place] = rng.integers(256)
        damaged.append(bytes(data))
    outcomes = {True: 0, False: 0}
    for data in damaged:
        try:
            expected = np.array(decode.decode(data))
        except decode.UnreadableImageError:
            expected = None
        try:
            got = pixels.pixels(data)[0].permute(1, 2, 0).numpy()
        except decode.UnreadableImageError:
            got = None
        assert (got is None) == (expected is None)
        assert expected is None or got is None or np.array_equal(got, expected)
        outcomes[got is None] += 1
    assert min(outcomes.values()) > 3


def test_without_simplejpeg_pixels_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = pixels.pixels(encoded())
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    pixels._simplejpeg.cache_clear()
    try:
        assert pixels._simplejpeg() is None and torch.equal(pixels.pixels(encoded()), fast)
    finally:
        pixels._simplejpeg.cache_clear()


def test_without_opencv_only_its_own_pipeline_is_refused(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(validation.importlib.util, "find_spec", lambda name: None)
    opencv.cv2.cache_clear()
    try:
        for refused in (
            lambda: dataset(pictures, "opencv"),
            lambda: validation.check(Config.from_dict({"data": {"pipeline": "opencv"}})),
        ):
            with pytest.raises(ConfigError, match="pip install opencv-python-headless"):
                refused()
        for pipeline in ("pil", "device"):
            validation.check(Config.from_dict({"data": {"pipeline": pipeline}}))
            assert dataset(pictures, pipeline)[0, 0].large.shape == (2, 3, 32, 32)
    finally:
        opencv.cv2.cache_clear()
    with pytest.raises(ConfigError, match="pipeline"):
        Config.from_dict({"data": {"pipeline": "auto"}})
