"""Our detector against torchvision's own modules on the same tensors: proposals, detections, losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import roi_heads, rpn
from torchvision.models.detection.image_list import ImageList

from golang.evaluation.transfer.networks.detector import Detector
from golang.evaluation.transfer.networks.draws import balanced
from golang.randomness import Purpose
from tests.unit.transfer_steps import WIDTHS, losses, network, scene, steps

SIZE = (64, 64)
KEYS = [(7, 0, 0), (7, 0, 1), (7, 0, 2)]


@pytest.fixture(scope="module")
def ours() -> Detector:
    """With something learned, so that scores differ."""
    made: Detector = network("A")
    steps(made, [0, 1, 2, 3], 40, torch.float32, rate=0.05)
    made.double()
    return made


class Drawn:
    """Our draws, in the form that torchvision's modules ask for theirs."""

    def __init__(self, most: int, share: float, purpose: Purpose) -> None:
        self.numbers = most, share, purpose

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        most, share, purpose = self.numbers
        masks = []
        for mine, key in zip(labels, KEYS, strict=True):
            both = balanced(mine, most, share, key, purpose)
            masks.append([torch.zeros(len(mine), dtype=torch.uint8).index_fill(0, part, 1) for part in both])
        return [positive for positive, _ in masks], [negative for _, negative in masks]


def theirs(ours: Detector) -> tuple[Any, Any]:
    """torchvision's modules around our layers, whose pooling we keep."""
    before, after = (dict(zip(("training", "testing"), n, strict=True)) for n in (WIDTHS.before_nms, WIDTHS.after_nms))
    proposals = rpn.RegionProposalNetwork(
        ours.rpn.anchors, ours.rpn.head, 0.7, 0.3, WIDTHS.anchors_drawn, 0.5, before, after, 0.7
    )
    proposals.fg_bg_sampler = Drawn(WIDTHS.anchors_drawn, 0.5, Purpose.ANCHORS)
    heads = roi_heads.RoIHeads(
        lambda maps, boxes, _: ours.roi_heads.box_pool(list(maps.values()), boxes), ours.roi_heads.box_head,
        ours.roi_heads.box_predictor, 0.5, 0.5, WIDTHS.regions_drawn, 0.25, None, 0.05, 0.5, 100,
    )  # fmt: skip
    heads.fg_bg_sampler = Drawn(WIDTHS.regions_drawn, 0.25, Purpose.REGIONS)
    return proposals, heads


def test_what_is_found(ours: Detector) -> None:
    proposals, heads = (module.eval() for module in theirs(ours.eval()))
    image, _ = scene(2, torch.float64)
    with torch.no_grad():
        maps = ours.backbone(image[None])
        boxes, _ = proposals(ImageList(image[None], [SIZE]), maps)
        assert torch.equal(boxes[0], ours.rpn.proposals(*ours.rpn(list(maps.values())), [SIZE])[0])
        ((expected,), _) = heads(maps, boxes, [SIZE])
    (found,) = ours.detect([image], [SIZE])
    assert len(found.boxes) > 0
    assert torch.allclose(found.boxes, expected["boxes"]) and torch.allclose(found.scores, expected["scores"])
    assert torch.equal(found.classes + 1, expected["labels"])


def test_losses_of_one_process(ours: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what box losses are: L1."""

    def absolute(predicted: Tensor, wanted: Tensor, beta: float, reduction: str) -> Tensor:
        return F.l1_loss(predicted, wanted, reduction=reduction)

    monkeypatch.setattr(F, "smooth_l1_loss", absolute)
    proposals, heads = (module.train() for module in theirs(ours.train()))
    found = {name: total / count for name, (total, count) in losses(ours, [0, 1, 2], 0, torch.float64).items()}
    images, targets = zip(*(scene(index, torch.float64) for index in range(3)), strict=True)
    sizes = [tuple(image.shape[1:]) for image in images]
    batch = ours._padded(images, SIZE)
    maps = ours.backbone(batch)
    truth = [{"boxes": target.boxes.double(), "labels": target.classes + 1} for target in targets]
    boxes, expected = proposals(ImageList(batch, sizes), maps, truth)
    expected |= heads(maps, boxes, sizes, truth)[1]
    names = {"loss_objectness": "objectness", "loss_rpn_box_reg": "proposal_box", "loss_classifier": "class"}
    for theirs_, name in (names | {"loss_box_reg": "box"}).items():
        assert expected[theirs_].item() == pytest.approx(found[name].item(), rel=1e-6), name  # theirs is partly of fp32
