"""FCN on our trunks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from golang.evaluation.transfer.networks import fcn
from golang.evaluation.transfer.networks.draws import kept_channels
from golang.evaluation.transfer.networks.operations import upsample
from golang.method.trunk import build_trunk
from tests.unit.transfer_steps import CLASSES, network, scene, steps


def test_strides_become_dilations() -> None:
    """As torchvision builds a ResNet with replace_stride_with_dilation=[False, True, True], with the same tensors."""
    import torchvision

    trunk = build_trunk("resnet50")
    names = set(trunk.state_dict())
    made = fcn(trunk, 21, seed=0)
    assert set(made.backbone.state_dict()) == names
    with torch.device("meta"):
        whole = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])
    theirs = {name: module for name, module in whole.named_modules() if isinstance(module, nn.Conv2d)}
    ours = {name: module for name, module in made.backbone.named_modules() if isinstance(module, nn.Conv2d)}
    assert ours.keys() == theirs.keys()
    for name, module in ours.items():
        for attribute in ("stride", "dilation", "padding"):
            assert getattr(module, attribute) == getattr(theirs[name], attribute), name
    assert [tuple(stage) for stage in made.backbone.stages.values()] == [(1024, 8), (2048, 8)]


def test_heads() -> None:
    made = fcn(build_trunk("resnet18"), 21, seed=0)
    shapes = {name: tuple(x.shape) for name, x in made.state_dict().items() if name.endswith("weight") and x.dim() == 4}
    heads = {name: shape for name, shape in shapes.items() if "classifier" in name}
    assert heads == {
        "classifier.convs.0.0.weight": (512, 512, 3, 3), "classifier.convs.1.0.weight": (512, 512, 3, 3),
        "classifier.join.0.weight": (512, 1024, 3, 3), "classifier.logits.weight": (21, 512, 1, 1),
        "aux_classifier.convs.0.0.weight": (256, 256, 3, 3), "aux_classifier.logits.weight": (21, 256, 1, 1),
    }  # fmt: skip


@pytest.mark.parametrize("size", [(512, 640), (5, 9), (64, 33)])
def test_upsampling_is_torch_s(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 16, 20, dtype=torch.float64)
    expected = F.interpolate(x, size, mode="bilinear", align_corners=False)
    assert torch.allclose(upsample(x, size), expected, rtol=0, atol=1e-12)


def test_channels_are_dropped_by_seed_epoch_and_image() -> None:
    like = torch.zeros(2, 4000, 1, 1)
    one, two = kept_channels([(0, 1, 2), (0, 1, 3)], 0, 0.1, like)
    (again,) = kept_channels([(0, 1, 3)], 0, 0.1, like[:1])
    assert torch.equal(two, again) and not torch.equal(one, two)
    assert one.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert one.mean().item() == pytest.approx(1, abs=0.03)
    assert not torch.equal(one, kept_channels([(0, 1, 2)], 1, 0.1, like[:1])[0])


def test_it_learns_to_tell_pixels_apart() -> None:
    made = network("C")
    seen = steps(made, [0, 2, 3], 120, torch.float32, rate=0.1)
    assert seen[-1][0] < 0.5 * seen[0][0]
    image, target = scene(2, torch.float32)
    made.eval()
    found = made.segment(image, (128, 96))
    assert found.shape == (128, 96) and found.dtype == torch.int64 and found.max() <= CLASSES
    own = made.segment(image, (64, 64))
    assert target.masks is not None
    for kind, mask in zip(target.classes, target.masks, strict=True):
        assert (own[mask] == kind + 1).float().mean() > 0.7


def test_a_frozen_trunk() -> None:
    made = network("C", frozen=True)
    before = {name: value.clone() for name, value in made.double().state_dict().items()}
    steps(made, [0, 2], 2)
    assert all(torch.equal(x, made.state_dict()[name]) for name, x in before.items() if name.startswith("backbone"))
    assert not torch.equal(before["classifier.logits.weight"], made.state_dict()["classifier.logits.weight"])
