"""Protocols of transfer to the number, their like on any set, and which images make up a step."""

from __future__ import annotations

import numpy as np
import pytest

from golang.config import Config, Evaluation
from golang.config.checks import check
from golang.errors import ConfigError
from golang.evaluation.transfer import numbers
from golang.evaluation.transfer.batches import plan
from golang.evaluation.transfer.numbers import PROTOCOLS, asked
from golang.runfolder.evaluations import DATA, data_of, of_checkpoint, result_name


def of(name: str, **settings: object) -> Evaluation:
    return Evaluation(protocol=(name,), **settings)  # type: ignore[arg-type]


def test_the_numbers_are_the_literatures() -> None:
    coco, voc, segments = (PROTOCOLS[name] for name in ("detect_coco", "detect_voc", "segment_voc"))
    assert {name: protocol.data for name, protocol in PROTOCOLS.items()} == {
        "detect_coco": "coco2017", "detect_voc": "voc0712", "segment_voc": "voc_sbd",
    }  # fmt: skip
    assert all(DATA[name] == protocol.data for name, protocol in PROTOCOLS.items())
    assert (coco.network, coco.steps, coco.batch_size, coco.lr) == ("fpn", 90_000, 16, 0.02)
    assert (coco.milestones, coco.warmup, coco.precise) == ((60_000, 80_000), 1000, 200)
    assert (coco.sides, coco.side, coco.longest) == ((640, 672, 704, 736, 768, 800), 800, 1333)
    assert (coco.decay, coco.norm_decay, numbers.MOMENTUM) == (1e-4, 0, 0.9)
    rates = [coco.rate(step) for step in (0, 500, 1000, 59_999, 60_000, 80_000)]
    assert rates == pytest.approx([2e-5, 0.02 * (0.5005), 0.02, 0.02, 0.002, 0.0002])
    assert (voc.network, voc.steps, voc.batch_size, voc.lr) == ("c4", 24_000, 16, 0.02)
    assert (voc.milestones, voc.warmup) == ((18_000, 22_000), 100)
    assert voc.sides == tuple(range(480, 801, 32)) and len(voc.sides) == 11
    assert (segments.network, segments.steps, segments.batch_size, segments.lr) == ("fcn", 20_000, 16, 0.01)
    assert (segments.decay, segments.norm_decay, segments.side, segments.longest) == (5e-4, 5e-4, 512, 2048)
    assert segments.images == 10_582 and segments.precise == 0
    assert (segments.scales, segments.most, segments.tries) == ((0.5, 2.0), 0.75, 10)
    assert (segments.brightness, segments.contrast, segments.saturation) == (32, (0.5, 1.5), (0.5, 1.5))
    assert segments.hue == 36 and {protocol.flip for protocol in (coco, voc, segments)} == {0.5}
    for detection in (coco, voc):
        plain = (detection.scales, detection.brightness, detection.contrast, detection.saturation, detection.hue)
        assert plain == ((1, 1), 0, (1, 1), (1, 1), 0), "a detector's images keep their colours"
    assert segments.rate(0) == 0.01
    assert segments.rate(10_000) == pytest.approx((0.01 - 1e-4) * 0.5**0.9 + 1e-4)
    assert segments.rate(20_000) == 1e-4


def test_published_is_what_ss_prl_ran() -> None:
    assert not asked(of("detect_coco"), 118_287, 427).published
    assert asked(of("detect_coco", published=True), 118_287, 427).published
    assert asked(of("segment_voc", published=True), 10_582, 333).lr == 0.05


def test_published_changes_nothing_of_detect_voc_and_says_so() -> None:
    evaluation = {"protocol": ["detect_voc"], "published": True, "root": "/a", "checkpoint": "/b.pt"}
    with pytest.raises(ConfigError, match=r"evaluation\.published=true changes nothing of evaluation=detect_voc"):
        check(Config.from_dict({"evaluation": evaluation}))
    both = Config.from_dict({"evaluation": evaluation | {"protocol": ["detect_coco", "detect_voc"]}})
    check(both)
    names = [result_name(one) for one in of_checkpoint(both)]
    assert names == ["detect_coco-published", "detect_voc"], "that of detect_voc is the same evaluation"


def test_any_set_has_the_protocols_numbers_in_proportion() -> None:
    one = asked(of("detect"), 117_266, 480)
    assert (one.steps, one.lr, one.milestones, one.warmup) == (90_000, 0.02, (60_000, 80_000), 1000)
    half = asked(of("detect", batch_size=8), 117_266, 480)
    assert (half.steps, half.lr, half.milestones, half.warmup) == (180_000, 0.01, (120_000, 160_000), 1000)
    small = asked(of("detect", epochs=4), 1000, 480)
    assert (small.steps, small.milestones, small.warmup) == (250, (167, 222), 25)
    assert asked(of("detect", lr=0.1, epochs=1), 1000, 480).lr == 0.1
    few = asked(of("segment", epochs=3), 5, 480)
    assert (few.batch_size, few.steps, few.lr) == (5, 3, 0.01 * 5 / 16)
    assert few.final_lr == pytest.approx(1e-4 * 5 / 16)


def test_small_images_are_seen_at_their_own_size() -> None:
    seen = asked(of("detect"), 5000, 64)
    assert (seen.side, seen.longest, seen.sides) == (64, 107, (51, 54, 56, 59, 61, 64))
    assert asked(of("detect"), 5000, 256).side == 800
    small = asked(of("segment"), 5000, 64)
    assert (small.side, small.scales) == (64, (1.0, 1.0))
    assert asked(of("segment"), 5000, 256).scales == (0.5, 2.0)
    assert asked(of("detect"), 5000, 8).side == numbers.LEAST_SIDE
    assert asked(of("detect_coco"), 5000, 64).side == 800, "a published protocol stays what it is"


def test_batches_are_of_one_aspect_and_hold_each_image_once() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(100, 200, (103, 2)).astype(np.int32)
    chosen = np.sort(rng.permutation(103)[:90])
    steps = plan(sizes, chosen, 8, seed=7, epoch=3)
    assert steps == plan(sizes, chosen, 8, seed=7, epoch=3) != plan(sizes, chosen, 8, seed=7, epoch=4)
    assert len(steps) == 90 // 8 and all(len(step) == 8 for step in steps)
    seen = [index for step in steps for index in step]
    assert len(set(seen)) == len(seen) and set(seen) <= set(chosen.tolist())
    wide = [sum(sizes[index, 0] > sizes[index, 1] for index in step) for step in steps]
    assert sum(count not in (0, 8) for count in wide) <= 2
    assert plan(sizes, chosen[:5], 5, seed=7, epoch=0)[0] != sorted(chosen[:5].tolist())


def test_who_has_boxes() -> None:
    for name in ("toy", "coco2017", "voc2007"):
        config = Config.from_dict({"data": {"name": name, "root": "/a"}, "evaluation": {"protocol": ["detect"]}})
        assert data_of(config, "detect") == config.data
    for name in ("list", "folder", "imagenet"):
        config = Config.from_dict({"data": {"name": name, "root": "/a"}, "evaluation": {"protocol": ["detect"]}})
        with pytest.raises(ConfigError, match=rf"detect needs boxes or masks: data={name} has none"):
            data_of(config, "detect")
    coco = Config.from_dict({"data": {"name": "coco2014", "root": "/a"}})
    assert (data_of(coco, "detect_coco").name, data_of(coco, "detect_coco").root) == ("coco2017", "/a")
    with pytest.raises(ConfigError, match=r"evaluation\.root=FOLDER"):
        data_of(coco, "detect_voc")


def test_frozen_is_a_number_of_detect_and_segment() -> None:
    config = Config.from_dict({"data": {"name": "toy"}, "evaluation": {"protocol": ["detect"], "frozen": True}})
    check(config)
    assert result_name(config).endswith("-frozen=true")
    with pytest.raises(ConfigError, match=r"evaluation\.frozen=True is a number of evaluation=detect and segment"):
        check(Config.from_dict({"evaluation": {"protocol": ["linear_coco"], "frozen": True}}))
