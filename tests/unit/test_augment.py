"""The published augmentation: what is drawn, how often, and what it does to pixels."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageFilter

from golang.config import Augment
from golang.data.crops.device import MEAN, STD, normalise
from golang.data.crops.draw import Color, ViewParameters, draw
from golang.data.crops.pillow import apply
from golang.randomness import Purpose, generator

T = torchvision.transforms
SETTINGS = Augment()
PLAIN = ViewParameters((0, 0, 40, 60), False, None, False, None)
NAMES = ("brightness", "contrast", "saturation", "hue")


@pytest.fixture(scope="module")
def image() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))


def views(count: int, settings: Augment = SETTINGS, scale: tuple[float, float] = (0.14, 1.0)) -> list[ViewParameters]:
    return [draw(generator(1, Purpose.VIEW, 0, n, 0), 640, 480, scale, settings) for n in range(count)]


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_drawn_parameters_follow_the_published_distribution() -> None:
    drawn = views(4000)

    def share(hits) -> float:
        return sum(map(bool, hits)) / len(drawn)

    assert share(v.flip for v in drawn) == pytest.approx(0.5, abs=0.03)
    assert share(v.color for v in drawn) == pytest.approx(0.8, abs=0.03)
    assert share(v.gray for v in drawn) == pytest.approx(0.2, abs=0.03)
    assert share(v.blur_radius is not None for v in drawn) == pytest.approx(0.5, abs=0.03)

    radii = [v.blur_radius for v in drawn if v.blur_radius is not None]
    assert 0.1 <= min(radii) < 0.12 and 1.98 < max(radii) <= 2.0 and np.mean(radii) == pytest.approx(1.05, abs=0.05)

    colors = [v.color for v in drawn if v.color is not None]
    factors = np.array([c.factors for c in colors])
    for column, (low, high) in enumerate([(0.2, 1.8)] * 3 + [(-0.2, 0.2)]):
        values = factors[:, column]
        width = high - low
        assert low <= values.min() < low + 0.01 * width and high - 0.01 * width < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * width)
    assert abs(np.corrcoef(factors.T)[~np.eye(4, dtype=bool)]).max() < 0.08
    orders = Counter(c.order for c in colors)
    assert len(orders) == 24 and min(orders.values()) > len(colors) / 24 * 0.6


def test_what_is_uniform_is_uniform_everywhere() -> None:
    """Kolmogorov and Smirnov's bound at one in a million, on seeded draws."""
    drawn = views(4000, scale=(0.14, 0.5))
    boxes = np.array([v.box for v in drawn])
    colors = np.array([v.color.factors for v in drawn if v.color])
    samples = {
        "area": ((boxes[:, 2] * boxes[:, 3]) / (640 * 480), 0.14, 0.5),
        "log ratio": (np.log(boxes[:, 3] / boxes[:, 2]), -math.log(4 / 3), math.log(4 / 3)),
        "radius": (np.array([v.blur_radius for v in drawn if v.blur_radius]), 0.1, 2.0),
        **{name: (colors[:, n], 0.2, 1.8) for n, name in enumerate(NAMES[:3])},
        "hue": (colors[:, 3], -0.2, 0.2),
    }
    for name, (values, low, high) in samples.items():
        cumulated = (np.sort(values) - low) / (high - low)
        distance = np.abs(cumulated - (np.arange(len(values)) + 0.5) / len(values)).max()
        assert distance < 2.7 / math.sqrt(len(values)), (name, distance)


@pytest.mark.parametrize("scale", [(0.05, 0.14), (0.14, 0.5)])
def test_crops_cover_the_asked_share_at_any_allowed_ratio(scale: tuple[float, float]) -> None:
    boxes = np.array([v.box for v in views(3000, scale=scale)])
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 480).all() and (left + width <= 640).all()
    area = height * width / (640 * 480)
    assert area.min() > scale[0] * 0.98 and area.max() < scale[1] * 1.02
    assert area.mean() == pytest.approx(sum(scale) / 2, rel=0.03)  # U(scale): few of these shapes need a second try
    ratio = np.log(width / height)
    assert abs(ratio).max() < math.log(4 / 3) + 0.02
    assert ratio.mean() == pytest.approx(0, abs=0.02)  # log-uniform, so symmetric in the logarithm
    assert ratio.std() == pytest.approx(2 * math.log(4 / 3) / math.sqrt(12), rel=0.05)
    place = top / (480 - height)  # uniform over what the crop leaves free
    assert place.mean() == pytest.approx(0.5, abs=0.03) and place.min() == 0 and place.max() == 1


def test_crops_agree_with_torchvision_where_no_shape_fits() -> None:
    settings, rng = SETTINGS, generator(0, Purpose.VIEW)
    for width, height in [(1000, 20), (20, 1000), (1, 100), (100, 1), (1, 1)]:
        box = draw(rng, width, height, (0.9, 1.0), settings).box
        expected = T.RandomResizedCrop.get_params(torch.zeros(3, height, width), [0.9, 1.0], [3 / 4, 4 / 3])
        assert box == tuple(expected)


def test_crops_are_distributed_as_torchvisions() -> None:
    torch.manual_seed(0)
    blank = torch.zeros(3, 48, 64)
    theirs = np.array([T.RandomResizedCrop.get_params(blank, [0.14, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])
    rng = generator(3, Purpose.VIEW)
    ours = np.array([draw(rng, 64, 48, (0.14, 1.0), SETTINGS).box for _ in range(3000)])
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.7  # of standard errors up to 0.25
    assert np.abs(ours.std(0) - theirs.std(0)).max() < 0.5


def test_one_parameter_never_depends_on_another() -> None:
    """The same stream with one operation switched off, or another shape of image, leaves all others as they are."""
    base = views(200)
    for change, field in [
        ({"flip_probability": 0.0}, "flip"),
        ({"color_probability": 0.0}, "color"),
        ({"gray_probability": 0.0}, "gray"),
        ({"blur_probability": 0.0}, "blur_radius"),
    ]:
        other = views(200, replace(SETTINGS, **change))
        assert [replace(v, **{field: None}) for v in base] == [replace(v, **{field: None}) for v in other]
    small = views(200, scale=(0.05, 0.14))
    assert [replace(v, box=None) for v in base] == [replace(v, box=None) for v in small]
    rng, twin = np.random.default_rng(5), np.random.default_rng(5)
    draw(rng, 2000, 10, (0.9, 1.0), SETTINGS)  # ten failed tries
    draw(twin, 100, 100, (0.1, 0.2), replace(SETTINGS, color_probability=0.0, blur_probability=0.0))
    assert rng.random() == twin.random()


def test_jitter_without_strength_is_no_change(image: Image.Image) -> None:
    settings = replace(SETTINGS, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, color_probability=1.0)
    color = draw(generator(0, Purpose.VIEW), 60, 40, (0.1, 1.0), settings).color
    assert color is not None and color.factors == (1.0, 1.0, 1.0, 0.0)
    assert torch.equal(apply(image, replace(PLAIN, color=color), 32), apply(image, PLAIN, 32))


def test_factors_are_never_negative() -> None:
    settings = replace(SETTINGS, brightness=1.5)
    assert min(v.color.factors[0] for v in views(500, settings) if v.color) >= 0


def test_crop_and_resize_are_pillows(image: Image.Image) -> None:
    got = apply(image, replace(PLAIN, box=(3, 5, 20, 30)), 16)
    assert got.dtype == torch.uint8 and got.shape == (3, 16, 16)
    expected = image.crop((5, 3, 35, 23)).resize((16, 16), Image.Resampling.BILINEAR)  # Pillow always antialiases
    assert torch.equal(got, pixels(expected))


def test_flip_gray_and_blur(image: Image.Image) -> None:
    plain = apply(image, PLAIN, 32)
    assert torch.equal(apply(image, replace(PLAIN, flip=True), 32), plain.flip(-1))
    gray = apply(image, replace(PLAIN, gray=True), 32)
    assert torch.equal(gray[0], gray[1]) and torch.equal(gray[0], gray[2])
    luma = (plain.float() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    assert (gray[0].float() - luma).abs().max() <= 1
    blurred = image.resize((32, 32), Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(1.5))
    assert torch.equal(apply(image, replace(PLAIN, blur_radius=1.5), 32), pixels(blurred))


@pytest.mark.parametrize("index", range(4))
def test_each_colour_adjustment_is_torchvisions(image: Image.Image, index: int) -> None:
    neutral = [1.0, 1.0, 1.0, 0.0]
    factor = 0.15 if index == 3 else 1.4
    neutral[index] = factor
    got = apply(image, replace(PLAIN, color=Color((2, 0, 3, 1), tuple(neutral))), 40)
    jitter = T.ColorJitter(**{NAMES[index]: (factor, factor)})
    assert torch.equal(got, pixels(jitter(image.resize((40, 40), Image.Resampling.BILINEAR))))


def test_the_order_of_adjustments_matters(image: Image.Image) -> None:
    factors = (1.6, 0.4, 1.5, 0.1)
    assert not torch.equal(
        apply(image, replace(PLAIN, color=Color((0, 1, 2, 3), factors)), 32),
        apply(image, replace(PLAIN, color=Color((1, 0, 2, 3), factors)), 32),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_normalise(dtype: torch.dtype) -> None:
    crops = torch.randint(0, 256, (2, 5, 3, 8, 8), dtype=torch.uint8)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, STD))
    expected = (crops.double() / 255 - mean) / std
    got = normalise(crops, dtype)
    assert got.dtype == dtype and got.shape == crops.shape
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 0.01}[dtype]
    assert (got.double() - expected).abs().max() < tolerance
    flat = normalise(crops.flatten(0, 1), dtype)
    assert flat.is_contiguous(memory_format=torch.channels_last) and torch.equal(flat, got.flatten(0, 1))
    assert STD[0] == 0.228
