"""Views of detection and segmentation: geometry, what moves with it, colours, and the draws they are functions of."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from golang.data.objects.objects import Found
from golang.evaluation.transfer import views
from golang.evaluation.transfer.numbers import PROTOCOLS, Protocol
from golang.evaluation.transfer.views import Distortion, detection_view, fitted, segmentation_view, whole_view
from golang.randomness import Purpose, generator

GRAY = (124, 116, 104)


def boxes_at(*sides: int, longest: int = 1000, flip: float = 0.5) -> Protocol:
    return replace(PROTOCOLS["detect_coco"], sides=sides, longest=longest, flip=flip)


def crops_of(side: int, longest: int = 1000) -> Protocol:
    return replace(PROTOCOLS["segment_voc"], side=side, longest=longest)


class Draws:
    """A generator whose draws are given; those that are not are `rest`."""

    def __init__(self, *first: float, rest: float = 0.9) -> None:
        self.first, self.rest, self.calls = first, rest, list[int]()

    def random(self, count: int) -> np.ndarray:
        self.calls.append(count)
        return np.array([*self.first, *[self.rest] * count][:count])


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture, so that resizing it two ways can be compared."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def found_in(*boxes: tuple[float, float, float, float], ignored: tuple[bool, ...] = ()) -> Found:
    count = len(boxes)
    return Found(
        np.array(boxes, dtype=np.float32), np.arange(count), np.array(ignored or (False,) * count),
        np.ones(count, dtype=np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "side", "longest", "wanted"),
    [
        ((640, 480), 800, 1333, (1067, 800)),  # 640 · 800/480 = 1066.67
        ((480, 640), 640, 1333, (640, 853)),  # 853.33
        ((1000, 400), 800, 1333, (1333, 533)),  # the long side would have 2000
        ((500, 375), 512, 2048, (683, 512)),  # a segmentation's, at test
        ((64, 64), 64, 107, (64, 64)),
    ],
)
def test_sides(size: tuple[int, int], side: int, longest: int, wanted: tuple[int, int]) -> None:
    assert fitted(size, side, longest) == wanted
    assert whole_view(Image.new("RGB", size), side, longest).shape == (3, wanted[1], wanted[0])


def test_boxes_and_masks_go_with_the_image() -> None:
    """A red block of 10 × 20 pixels at (30, 10) in an image of 100 × 50, enlarged twice, flipped."""
    image, box = Image.new("RGB", (100, 50)), (30.0, 10.0, 40.0, 30.0)
    image.paste((255, 0, 0), (30, 10, 40, 30))
    masks = np.zeros((1, 50, 100), dtype=np.bool_)
    masks[0, 10:30, 30:40] = True
    plain = detection_view(Draws(0.6, 0.7), image, found_in(box), masks, boxes_at(50, 100))
    assert plain[1].boxes.tolist() == [[60.0, 20.0, 80.0, 60.0]]
    pixels, target = detection_view(Draws(0.6, 0.2), image, found_in(box), masks, boxes_at(50, 100))
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 100, 200)
    assert target.boxes.tolist() == [[120.0, 20.0, 140.0, 60.0]] and target.boxes.dtype == torch.float32
    assert target.masks is not None and target.masks.dtype == torch.bool
    rows, columns = np.nonzero(target.masks[0].numpy())
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == [120, 20, 140, 60]
    assert target.masks[0].sum() == 20 * 40 and torch.equal(target.masks[0], pixels[0] > 127)
    assert torch.equal(pixels.flip(-1), plain[0])
    kept = detection_view(Draws(0.6, 0.2), image, found_in(box), None, boxes_at(50, 100, flip=0))
    assert torch.equal(kept[0], plain[0]) and torch.equal(kept[1].boxes, plain[1].boxes)


def test_each_axis_scales_by_what_it_became() -> None:
    """481 × 640 at 640: 640 and 851.6, that is 852, pixels; boxes at the border stay there."""
    box = (0.0, 0.0, 481.0, 640.0)
    image, protocol = Image.new("RGB", (481, 640)), boxes_at(640, longest=1333)
    _, target = detection_view(Draws(0.0), image, found_in(box), None, protocol)
    assert target.boxes.tolist() == [[0.0, 0.0, 640.0, 852.0]] and target.masks is None


def test_sides_are_drawn_alike_and_crowds_are_not_learned() -> None:
    image, sides = Image.new("RGB", (20, 10)), (10, 20, 30, 40)
    found = found_in((1, 1, 5, 5), (2, 2, 6, 6), ignored=(True, False))
    drawn = [detection_view(generator(0, Purpose.VIEW, 0, i), image, found, None, boxes_at(*sides)) for i in range(400)]
    counts = [sum(view.shape[1] == side for view, _ in drawn) for side in sides]
    assert sum(counts) == 400 and min(counts) > 70
    assert {tuple(target.classes.tolist()) for _, target in drawn} == {(1,)}
    flipped = sum(target.boxes[0, 0] > 0.5 * view.shape[2] for view, target in drawn)
    assert 160 < flipped < 240
    both = detection_view(Draws(0.0), image, found, None, boxes_at(*sides), ignored=True)[1]
    assert both.classes.tolist() == [0, 1]
    crowd = found_in((1, 1, 5, 5), ignored=(True,))
    nothing = detection_view(Draws(0.0), image, crowd, np.ones((1, 10, 20), bool), boxes_at(*sides))[1]
    assert nothing.boxes.shape == (0, 4) and nothing.masks is not None and nothing.masks.shape == (0, 10, 20)


def test_views_are_functions_of_their_generator() -> None:
    image, labels = noise(90, 70), np.random.default_rng(1).integers(0, 3, (70, 90), dtype=np.uint8)
    once, again, other = (
        segmentation_view(generator(0, Purpose.VIEW, 2, index), image, labels, crops_of(48, 200)) for index in (5, 5, 6)
    )
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1]) and not torch.equal(once[0], other[0])
    draws = Draws(0.1)
    for one in (labels, np.zeros_like(labels)):  # a first try that serves, and ten that do not
        segmentation_view(draws, image, one, crops_of(48, 200))
    assert len(set(draws.calls)) == 1 and len(draws.calls) == 2


def test_a_crop_is_the_part_of_the_resized_image() -> None:
    """At 1.5 of 60 pixels an image of 120 × 80 becomes 135 × 90; the crop is 15 from the left, 7 from the top."""
    image = noise(120, 80)
    labels = np.indices((80, 120)).sum(0).astype(np.uint8) % 7
    draws = Draws((1.5 - 0.5) / 1.5, 7.5 / 31, 15.5 / 76)
    pixels, known = segmentation_view(draws, image, labels, crops_of(60))
    whole = np.asarray(image.resize((135, 90), Image.Resampling.BILINEAR))
    difference = pixels.permute(1, 2, 0).numpy().astype(int) - whole[7:67, 15:75]
    assert np.abs(difference).max() <= 2 and np.mean(difference != 0) < 0.2, "rounded twice, and ties fall either way"
    rows, columns = (np.arange(7, 67) + 0.5) * 80 / 90, (np.arange(15, 75) + 0.5) * 120 / 135
    assert np.array_equal(known.numpy(), labels[rows.astype(int)[:, None], columns.astype(int)])
    flipped = Draws(*draws.first, *[0.9] * 18, 0.1)
    mirrored = segmentation_view(flipped, image, labels, crops_of(60))
    assert torch.equal(mirrored[0].flip(-1), pixels) and torch.equal(mirrored[1].flip(-1), known)


def test_what_an_image_does_not_reach_is_ignored() -> None:
    """At half of 64 pixels, 40 × 40 becomes 32 × 32, in the top left corner."""
    image, labels = Image.new("RGB", (40, 40), (200, 10, 10)), np.ones((40, 40), dtype=np.uint8)
    pixels, known = segmentation_view(Draws(0.0), image, labels, crops_of(64))
    assert known.shape == (64, 64) and (known[:32, :32] == 1).all() and (known == 255).sum() == 64 * 64 - 32 * 32
    assert pixels[:, 40, 5].tolist() == pixels[:, 5, 40].tolist() == list(GRAY) and pixels[0, 5, 5] == 200


def test_a_crop_of_nearly_one_class_is_tried_again() -> None:
    """The left three quarters of the image are ground: of crops a quarter as wide, the first with enough of both is
    taken, else the tenth."""
    image, labels = Image.new("RGB", (256, 64)), np.zeros((64, 256), dtype=np.uint8)
    labels[:, 192:] = 1
    tries = [(0.0, left / 193) for left in (0.5, 10.5, 170.5, 150.5)]
    same_size = (1 - 0.5) / 1.5
    draws = [same_size, *(number for one in tries for number in one)]
    _, known = segmentation_view(Draws(*draws), image, labels, crops_of(64))
    assert (known == 1).sum() == 64 * (170 + 64 - 192), "42 of 64 columns"
    first = [same_size, *[0.0, 0.5 / 193] * 9, 0.0, 10.5 / 193]
    labels[:, 10] = 2
    _, known = segmentation_view(Draws(*first), image, labels, crops_of(64))
    assert (known[:, 0] == 2).all() and (known[:, 1:] == 0).all(), "the tenth, at 10"
    ignored = np.where(labels == 0, 255, labels).astype(np.uint8)
    ignored[:, :8], ignored[:, 9:12] = 0, 1
    _, known = segmentation_view(Draws(same_size, 0.0, 0.5 / 193), image, ignored, crops_of(64))
    assert (known[:, 0] == 0).all(), "8 of the 11 columns that count: less than three quarters"


def test_colours() -> None:
    image = Image.fromarray(np.array([[[200, 120, 40], [30, 60, 250], [128, 128, 128]]], dtype=np.uint8))
    levels = np.asarray(image)

    def distorted(**changes: float | bool) -> np.ndarray:
        settings = {"brightness": 0.0, "contrast": 1.0, "contrast_first": True, "saturation": 1.0, "hue": 0.0}
        return np.asarray(Distortion(**{**settings, **changes}).apply(image))

    assert np.array_equal(distorted(), levels)
    assert np.array_equal(distorted(brightness=20), np.minimum(levels.astype(int) + 20, 255))
    assert distorted(contrast=1.5)[0].tolist() == [[255, 180, 60], [45, 90, 255], [192, 192, 192]]
    turned, pale = distorted(hue=120.0)[0], distorted(saturation=0.5)[0]
    for row, color in enumerate(levels[0]):
        h, s, v = colorsys.rgb_to_hsv(*(color / 255))
        assert turned[row] == pytest.approx(255 * np.array(colorsys.hsv_to_rgb((h + 1 / 3) % 1, s, v)), abs=4)
        assert pale[row] == pytest.approx(255 * np.array(colorsys.hsv_to_rgb(h, s / 2, v)), abs=3)
    first, last = (distorted(contrast=1.5, saturation=0.5, contrast_first=one) for one in (True, False))
    assert not np.array_equal(first, last), "levels are cut where contrast comes first"


def test_colours_are_drawn_half_of_the_time() -> None:
    draws = (generator(0, Purpose.VIEW, 0, index).random(9).tolist() for index in range(2000))
    drawn = [Distortion.drawn(nine, PROTOCOLS["segment_voc"]) for nine in draws]
    for name, neutral, low, high in (
        ("brightness", 0.0, -32, 32), ("contrast", 1.0, 0.5, 1.5), ("saturation", 1.0, 0.5, 1.5), ("hue", 0.0, -36, 36),
    ):  # fmt: skip
        values = [getattr(one, name) for one in drawn]
        changed = [value for value in values if value != neutral]
        assert 900 < len(changed) < 1100 and low <= min(changed) and max(changed) <= high
        assert min(changed) < low + 0.02 * (high - low) and max(changed) > high - 0.02 * (high - low)
    assert 900 < sum(one.contrast_first for one in drawn) < 1100


def test_what_is_padded_is_of_the_mean() -> None:
    assert views.PADDING == GRAY == tuple(round(255 * mean) for mean in (0.485, 0.456, 0.406))
