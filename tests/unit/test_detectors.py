"""Detectors on our trunks: their parts, ranks against one process, draws, and that they learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from golang.evaluation.transfer.networks import OWN, PUBLISHED, A, B, Detections, Widths, faster_rcnn_c4, mask_rcnn
from golang.evaluation.transfer.networks.draws import balanced
from golang.evaluation.transfer.networks.operations import DeterministicRoIAlign, roi_align
from golang.evaluation.transfer.networks.rpn import Anchors
from golang.method.trunk import build_trunk
from golang.randomness import Purpose
from tests.golden.runs import on_ranks
from tests.unit.transfer_steps import SIZES, WIDTHS, losses, network, scene, small_trunk, steps

SPLITS = {"shares": ([0, 1, 2], [3]), "no objects on one": ([1], [0, 2, 3]), "no images on one": ([0, 1, 2, 3], [])}
CASES = [*(("A", split) for split in SPLITS), ("B", "no objects on one"), ("C", "shares"), ("C", "no images on one")]


def trained(kind: str, indices: list[int]) -> dict[str, Tensor]:
    made = network(kind)
    seen = steps(made, indices, 10)
    return {"losses": torch.stack(seen), **{name: value.clone() for name, value in made.state_dict().items()}}


def trained_on_a_rank(rank: int, cases: list[tuple[str, str]]) -> dict[str, Tensor]:
    found = {}
    for kind, split in cases:
        found |= {f"{kind} {split} {name}": x for name, x in trained(kind, SPLITS[split][rank]).items()}
    return found


def test_two_ranks_are_one_process() -> None:
    """Ten steps in fp64, with images of several sizes, regions that differ in number, and ranks without any."""
    ranks = on_ranks(2, trained_on_a_rank, CASES)
    for kind, split in CASES:
        for name, value in trained(kind, [*SPLITS[split][0], *SPLITS[split][1]]).items():
            for found in ranks:
                off = (found[f"{kind} {split} {name}"] - value).abs().max().item()
                assert off < 1e-10, (kind, split, name, off)


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_a_step_is_the_same_to_the_bit(kind: str) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        first = steps(network(kind), [0, 1, 2, 3], 2, torch.float32)
        torch.rand(5)
        again = steps(network(kind), [0, 1, 2, 3], 2, torch.float32)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_nothing_is_drawn_from_the_process_s_own_stream(kind: str) -> None:
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    steps(network(kind), [0, 1], 1)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpys, np.random.get_state()[1])  # type: ignore[index]


def test_weights_are_a_function_of_the_seed() -> None:
    one, same, other = (mask_rcnn(small_trunk(), 3, seed, WIDTHS).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(
        one["roi_heads.box_predictor.cls_score.weight"], other["roi_heads.box_predictor.cls_score.weight"]
    )


def test_an_image_s_anchors_and_regions_are_drawn_for_it_alone() -> None:
    """The same from any batch, and others in another epoch."""
    labels = torch.cat([torch.full((300,), -1), torch.ones(100), torch.zeros(5000)])
    drawn = [balanced(labels, 256, 0.25, (0, epoch, 5), Purpose.REGIONS) for epoch in (0, 0, 1)]
    for positive, negative in drawn:
        assert len(positive) == 64 and len(negative) == 192
        assert (labels[positive] == 1).all() and (labels[negative] == 0).all()
        assert len(positive.unique()) == 64 and len(negative.unique()) == 192
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][1], drawn[2][1])
    assert not torch.equal(drawn[0][1], balanced(labels, 256, 0.25, (0, 0, 5), Purpose.ANCHORS)[1])


def test_fewer_are_drawn_where_fewer_are_found() -> None:
    positive, negative = balanced(torch.tensor([1, 0, 0, -1, 4]), 256, 0.5, (0, 0, 0), Purpose.ANCHORS)
    assert positive.tolist() == [0, 4] and negative.tolist() == [1, 2]


def test_names_and_shapes_are_torchvision_s() -> None:
    """Of Mask R-CNN with its second version's parts, but for one of the two convolutions before proposals."""
    trunk = build_trunk("resnet50")
    weights = {name: value.clone() for name, value in trunk.state_dict().items()}
    with torch.device("meta"):
        theirs = torchvision.models.detection.maskrcnn_resnet50_fpn_v2(
            weights=None, weights_backbone=None, num_classes=81
        ).state_dict()
    made = mask_rcnn(trunk, 80, seed=0)
    shapes = {name: value.shape for name, value in theirs.items() if not name.startswith("rpn.head.conv.1.")}
    assert {name: value.shape for name, value in made.state_dict().items()} == shapes
    assert all(torch.equal(value, made.state_dict()[f"backbone.body.{name}"]) for name, value in weights.items())


def test_the_stages_of_protocol_b() -> None:
    trunk = build_trunk("resnet18")
    names = set(trunk.state_dict())
    made = faster_rcnn_c4(trunk, 20, seed=0)
    own = {name.removeprefix("backbone.body.") for name in made.state_dict() if name.startswith("backbone.body.")}
    own |= {name.removeprefix("roi_heads.box_head.") for name in made.state_dict() if "box_head.layer4" in name}
    assert own == names
    assert made.rpn.head.cls_logits.out_channels == 15 and made.rpn.anchors.strides == (16,)
    assert made.roi_heads.box_head.norm.num_features == 512
    assert made.roi_heads.box_pool.side == 14


def test_numbers() -> None:
    assert (A.channels, A.features, A.anchors) == (256, 1024, (32, 64, 128, 256, 512))
    assert (A.before_nms, A.after_nms, A.anchors_drawn, A.regions_drawn) == ((2000, 1000), (1000, 1000), 256, 512)
    assert (B.before_nms[1], B.after_nms[1]) == (6000, 1000)
    assert A.at(400).anchors == (16, 32, 64, 128, 256)
    small = A.narrow()
    assert (small.channels, small.features, small.regions_drawn, small.after_nms) == (32, 128, 32, (125, 125))
    gray = torch.full((3, 2, 2), 128, dtype=torch.uint8)
    assert OWN.normalise(gray)[1, 0, 0].item() == pytest.approx((128 / 255 - 0.456) / 0.224)
    assert PUBLISHED.normalise(gray)[:, 0, 0].tolist() == pytest.approx([128 - 103.53, 128 - 116.28, 128 - 123.675])
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    assert PUBLISHED.normalise(red)[:, 0, 0].tolist() == pytest.approx([-103.53, -116.28, 255 - 123.675])


def test_strides() -> None:
    thin = Widths(channels=8, features=8)
    made = mask_rcnn(build_trunk("resnet18"), 3, 0, thin)
    assert made.rpn.anchors.strides == (4, 8, 16, 32, 64)
    assert mask_rcnn(small_trunk(), 3, 0, thin).rpn.anchors.strides == (4, 8, 16, 32)
    blocks = [build_trunk("resnet50") for _ in range(2)]
    mask_rcnn(blocks[0], 3, 0, thin), mask_rcnn(blocks[1], 3, 0, thin, published=True)
    assert [(b.layer2[0].conv1.stride, b.layer2[0].conv2.stride) for b in blocks] == [
        ((1, 1), (2, 2)),
        ((2, 2), (1, 1)),
    ]


def test_anchors_are_not_rounded_and_keep_their_maps_strides() -> None:
    """800 pixels at stride 64 are 13 steps of 64, where torchvision takes 800 // 13 = 61."""
    (found,) = Anchors([(10.0,)], [64]).on([torch.zeros(1, 1, 13, 13)])
    wide = found[0]
    assert wide[2].item() == pytest.approx(5 * math.sqrt(2)) and wide[3].item() == pytest.approx(5 / math.sqrt(2))
    assert (found[3] - found[0]).tolist() == pytest.approx([64, 0, 64, 0])


def test_roi_align_s_deterministic_way_back() -> None:
    """As torchvision's, on regions of all sizes, some over the border, and images without any."""
    draw = torch.Generator().manual_seed(3)
    maps = torch.randn(3, 4, 12, 17, generator=draw, dtype=torch.float64)
    corners = 150 * torch.rand(150, 4, generator=draw, dtype=torch.float64) - 15
    boxes = torch.cat([torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])], 1)
    per_image = [boxes[:90], boxes[:0], boxes[90:]]
    theirs = maps.clone().requires_grad_()
    pooled = roi_align(theirs, per_image, 7, 8)
    dy = torch.randn(pooled.shape, generator=draw, dtype=torch.float64)
    pooled.backward(dy)
    rois = torch.cat([torch.tensor([0] * 90 + [2] * 60, dtype=torch.float64)[:, None], boxes], dim=1)
    ours = maps.clone().requires_grad_()
    again = DeterministicRoIAlign.apply(ours, rois, 7, 1 / 8)
    again.backward(dy)
    assert torch.equal(again, pooled)
    assert ours.grad is not None and theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", ["A", "B"])
def test_a_frozen_trunk(kind: str) -> None:
    made = network(kind, frozen=True)
    before = {name: value.clone() for name, value in made.double().state_dict().items()}
    steps(made, [0, 2], 2)
    trunk = [name for name in before if "body" in name or "layer4" in name]
    assert all(torch.equal(before[name], made.state_dict()[name]) for name in trunk)
    assert not torch.equal(before["rpn.head.cls_logits.weight"], made.state_dict()["rpn.head.cls_logits.weight"])


def test_it_learns_and_finds_what_it_saw() -> None:
    """Four images, seen until it knows them: boxes, classes and masks at the originals' sizes."""
    made = network("A")
    seen = [sum(step.tolist()) for step in steps(made, [0, 1, 2, 3], 80, torch.float32, rate=0.05)]
    assert np.mean(seen[-5:]) < 0.5 * np.mean(seen[:5])
    made.eval()
    scenes = [scene(index, torch.float32) for index in range(4)]
    original = [(2 * height, 3 * width) for height, width in SIZES]
    found = made.detect([image for image, _ in scenes], original)
    alone = made.detect([scenes[0][0]], original[:1])[0]
    assert all(torch.equal(a, b) for a, b in zip(alone, found[0], strict=True) if a is not None and b is not None)
    for one, (_, target), size in zip(found, scenes, original, strict=True):
        assert isinstance(one, Detections) and one.masks is not None
        assert one.masks.shape == (len(one.boxes), *size) and one.masks.dtype == torch.bool
        assert (one.scores.diff() <= 0).all() and len(one.boxes) <= 100
        truth = target.boxes * torch.tensor([3, 2, 3, 2])
        if len(truth):
            overlaps = torchvision.ops.box_iou(truth, one.boxes) * (target.classes[:, None] == one.classes)
            assert (overlaps.amax(1) > 0.5).all()


def test_losses_are_sums_and_counts() -> None:
    """Of an image without objects there are no positive regions, and so nothing of masks."""
    found = losses(network("A").double(), [1], 0, torch.float64)
    assert list(found) == ["objectness", "proposal_box", "class", "box", "mask"]
    assert found["mask"][1] == 0 and found["box"][0] == 0 and found["class"][1] > 0
    assert found["objectness"][1] <= 32
    steps(network("A"), [1], 1)  # each weight has a gradient all the same
