"""Checkpoints as other projects write them: found, the right network of two taken, and nothing in them run."""

from __future__ import annotations

import argparse
import pathlib
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from torch import Tensor

from golang.config import Config
from golang.errors import CheckpointError
from golang.evaluation.job import load_trunk
from golang.method.model import build_model
from golang.method.trunk import build_trunk
from golang.weights import layouts
from golang.weights.__main__ import IncompleteError, convert, main
from golang.weights.spellings import DETECTRON2, HUGGINGFACE, SEQUENTIAL, TORCHVISION, Spelling

Tensors = dict[str, Tensor]
HEADS = {"fc.0.weight": torch.ones(2, 2), "fc.2.weight": torch.ones(3, 2)}
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.03, "params": [0]}]}
SMALL = {"trunk": "small", "hidden_dim": 8, "feature_dim": 8, "prototypes": 4, "local_prototypes": 4}


def trunk(name: str = "small", seed: int = 0) -> Tensors:
    """A trunk's tensors under torchvision's names, each number another."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(7 + seed)
        for key, value in build_trunk(name).state_dict().items()
    }


def at(prefix: str, tensors: Tensors, spelling: Spelling = TORCHVISION) -> Tensors:
    return {prefix + spelling.of(name): value for name, value in tensors.items()}


def read(path: Path, content: object, take: str | None = None) -> layouts.Weights:
    torch.save(content, path)
    return layouts.read(path, take)


def same(found: layouts.Weights, tensors: Tensors) -> bool:
    own = {name.removeprefix("trunk."): value for name, value in found.tensors.items()}
    return own.keys() == tensors.keys() and all(torch.equal(own[name], tensors[name]) for name in tensors)


ONE, OTHER = trunk(seed=1), trunk(seed=2)
QUEUE = {"module.queue": torch.ones(2, 4), "module.queue_ptr": torch.zeros(1)}
LIGHTNING = {"epoch": 9, "global_step": 90, "pytorch-lightning_version": "2.4.0", "callbacks": {}, "lr_schedulers": []}
META = {"meta": {"mmcv_version": "1.3", "time": "now"}}

# (whose, the file with ONE as what is meant and OTHER as its companion, words that take the companion or None)
FILES: list[tuple[str, Callable[[], dict], str | None]] = [
    (
        "MoCo",
        lambda: {
            "epoch": 200, "arch": "resnet50", "optimizer": OPTIMIZER,
            "state_dict": at("module.encoder_q.", ONE | HEADS) | at("module.encoder_k.", OTHER | HEADS) | QUEUE,
        },
        "encoder_k",
    ),
    ("MoCo", lambda: {"state_dict": at("encoder_q.", ONE | {"fc.weight": torch.ones(4, 128)})}, None),
    (
        "MoCo v3",
        lambda: {"state_dict": at("module.momentum_encoder.", OTHER) | at("module.base_encoder.", ONE | HEADS)},
        "momentum_encoder",
    ),
    ("PyTorch Lightning", lambda: {**LIGHTNING, "state_dict": at("model.", ONE) | {"loss.w": torch.ones(1)}}, None),
    ("PyTorch Lightning", lambda: {**LIGHTNING, "state_dict": at("net.encoder.", ONE)}, None),
    (
        "solo-learn",
        lambda: {
            **LIGHTNING, "hyper_parameters": OmegaConf.create({"method": "byol", "lr": 0.1, "crops": [2, True, None]}),
            "state_dict": at("backbone.", ONE) | at("momentum_backbone.", OTHER) | {"classifier.bias": torch.ones(2)},
        },
        "momentum_backbone",
    ),
    ("solo-learn", lambda: {**LIGHTNING, "state_dict": at("backbone.", ONE) | at("projector.", HEADS)}, None),
    ("lightly", lambda: at("backbone.", ONE, SEQUENTIAL) | {"projection_head.layers.0.weight": torch.ones(2)}, None),
    ("lightly", lambda: {**LIGHTNING, "state_dict": at("backbone.", ONE, SEQUENTIAL)}, None),
    (
        "lightly",
        lambda: {"state_dict": at("backbone_momentum.", OTHER, SEQUENTIAL) | at("backbone.", ONE, SEQUENTIAL)},
        "backbone_momentum",
    ),
    (
        "DINO",
        lambda: {
            "student": at("module.backbone.", OTHER | at("head.", HEADS)), "teacher": at("module.backbone.", ONE),
            "epoch": 3, "optimizer": OPTIMIZER, "args": argparse.Namespace(arch="resnet50", out=pathlib.Path("x")),
        },
        "student",
    ),
    ("DINO", lambda: {"teacher": at("backbone.", ONE), "student": at("module.backbone.", OTHER)}, "student"),
    ("mmselfsup or mmpretrain", lambda: {**META, "state_dict": at("backbone.", ONE) | at("head.", HEADS)}, None),
    (
        "mmselfsup",
        lambda: {
            **META,
            "state_dict": OrderedDict(at("encoder_k.0.", OTHER) | at("backbone.", ONE) | at("encoder_q.0.", ONE)),
        },
        "encoder_k",
    ),
    ("BYOL", lambda: at("online_encoder.net.", ONE) | at("target_encoder.net.", OTHER), "target_encoder"),
    (
        "BYOL",
        lambda: {"state_dict": at("target_network.encoder.", OTHER) | at("online_network.encoder.", ONE), **LIGHTNING},
        "target_network",
    ),
    (
        "BYOL",
        lambda: {
            "online_network_state_dict": at("encoder.", ONE, SEQUENTIAL),
            "target_network_state_dict": at("encoder.", OTHER, SEQUENTIAL),
        },
        "target_network_state_dict",
    ),
    (
        "VISSL",
        lambda: {"classy_state_dict": {"base_model": {"model": {"trunk": at("_feature_blocks.", ONE), "heads": {}}}}},
        None,
    ),
    ("torchvision's names at module.backbone", lambda: at("module.backbone.", ONE) | at("projector.", HEADS), None),
    ("torchvision's names at model.a.b", lambda: {"model": at("a.b.", ONE)}, None),
    ("trunk", lambda: dict(ONE), None),
    ("Hugging Face", lambda: at("resnet.", ONE, HUGGINGFACE) | {"classifier.1.weight": torch.ones(2, 2)}, None),
    ("Hugging Face", lambda: at("", ONE, HUGGINGFACE), None),
    ("detectron2", lambda: {"model": at("backbone.bottom_up.", ONE, DETECTRON2), "iteration": 5}, None),
    ("timm", lambda: {"state_dict": dict(OTHER), "state_dict_ema": dict(ONE), "arch": "resnet18"}, "state_dict"),
    ("torchvision", lambda: {"model": dict(OTHER), "model_ema": at("module.", ONE), "epoch": 3}, "model"),
    ("DINO", lambda: at("student_backbone.", OTHER) | at("teacher_backbone.", ONE, SEQUENTIAL), "student_backbone"),
    ("lightly", lambda: at("student_backbone.", OTHER) | at("backbone.", ONE), "student_backbone"),
]  # fmt: skip


@pytest.mark.parametrize(("whose", "content", "companion"), FILES, ids=[f"{n}-{f[0]}" for n, f in enumerate(FILES)])
def test_the_network_is_found(tmp_path: Path, whose: str, content: Callable[[], dict], companion: str | None) -> None:
    found = read(tmp_path / "in.pt", content())
    assert (found.origin, found.trunk, same(found, ONE)) == (whose, "small", True)
    assert bool(found.said) == bool(companion)
    if companion:
        assert f"as {whose} itself does" in found.said and "--take" in found.said
        assert same(layouts.read(tmp_path / "in.pt", companion), OTHER)
    model, measured = build_model(Config.from_dict({"model": SMALL})), load_trunk(tmp_path / "in.pt")[0]
    assert f"tensors start from {tmp_path / 'in.pt'} ({whose} layout)" in layouts.load_into(model, tmp_path / "in.pt")
    for name, value in ONE.items():
        assert torch.equal(model.trunk.state_dict()[name], value) and torch.equal(measured.state_dict()[name], value)


def test_every_tensor_is_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = FILES[0][1]()
    torch.save(content, tmp_path / "in.pt")
    with pytest.raises(IncompleteError, match=r"have no place in it: fc\.0\.weight, fc\.2\.weight, module\.encoder_k"):
        convert(tmp_path / "in.pt", tmp_path / "out.pt", "trunk", allow=False)
    rows = convert(tmp_path / "in.pt", tmp_path / "out.pt", "trunk", allow=True)
    assert sorted(there for there, _, _ in rows) == sorted(content["state_dict"])
    assert {here for _, here, fate in rows if fate == "written"} == set(ONE)
    assert layouts.read(tmp_path / "in.pt").beside == ("epoch", "arch", "optimizer")
    assert main([str(tmp_path / "in.pt"), str(tmp_path / "own.pt"), "--allow", "--take", "encoder_k"]) == 0
    out = capsys.readouterr().out
    assert "MoCo → own, small" in out and "as --take encoder_k says" in out
    assert "beside the weights, and excluded: epoch, arch, optimizer" in out
    assert same(layouts.read(tmp_path / "own.pt"), OTHER)
    assert "excluded: encoder_k, fc, queue" in layouts.load_into(
        build_model(Config.from_dict({"model": SMALL})), tmp_path / "in.pt"
    )


@pytest.mark.parametrize(
    ("content", "take", "message"),
    [
        (
            {"a": dict(ONE), "b": dict(OTHER)},
            None,
            r"holds 2 networks, `a`, `b`; .*--take a` takes the first",
        ),
        ({"a": dict(ONE), "b": dict(OTHER)}, "c", r"none of its networks are at --take c; there are `a`, `b`"),
        (at("z.x.", ONE) | at("z.y.", OTHER), "z", r"2 of its networks are at --take z; there are `z.x`, `z.y`"),
        (at("x.", ONE) | at("x.y.", OTHER), "y.x", r"none of its networks are at --take y.x; there are `x`, `x.y`"),
        ({"a": torch.ones(1)}, "a", r"none of its networks are at --take a; there are none"),
    ],
)
def test_which_one_must_be_clear(tmp_path: Path, content: dict, take: str | None, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "in.pt", content, take)
    if take is None:
        assert same(layouts.read(tmp_path / "in.pt", "b"), OTHER)
    elif take == "y.x":
        assert same(layouts.read(tmp_path / "in.pt", "x"), ONE) and same(layouts.read(tmp_path / "in.pt", "x.y"), OTHER)


def deeper(tensors: Tensors) -> Tensors:
    return tensors | {f"layer3.{n}.conv1.weight": torch.ones(64, 64, 3, 3) for n in range(1, 36)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"teacher": {"backbone.patch_embed.proj.weight": torch.ones(1)}}, "it is a vision transformer"),
        ({"vit.embeddings.patch_embeddings.projection.weight": torch.ones(1)}, "it is a vision transformer"),
        ({"state_dict": {"layers.0.blocks.0.attn.relative_position_bias_table": torch.ones(1)}}, "it is a Swin"),
        ({"downsample_layers.0.0.weight": torch.ones(1)}, "it is a ConvNeXt"),
        ({"conv_stem.weight": torch.ones(1)}, "it is an EfficientNet or a MobileNet"),
        ({"features.denseblock1.denselayer1.norm1.weight": torch.ones(1)}, "it is a DenseNet"),
        ({"trunk_output.block1.block1-0.proj.0.weight": torch.ones(1)}, "it is a RegNet"),
        ({"model": {"conv1_w": torch.ones(1), "res2_0_branch2a_w": torch.ones(1)}}, "it is a ResNet by Caffe2's names"),
        ({"conv1.0.weight": torch.ones(1), "layer1.0.conv1.weight": torch.ones(1)}, "stem of several convolutions"),
        (at("visual.", ONE | {"conv1.weight": torch.ones(1), "attnpool.k": torch.ones(1)}), "it is CLIP's"),
        (deeper(ONE), r"nearest is small, which has no layer3\.1\.conv1\.weight; .* here have 1\+1\+36\+1 blocks"),
        (ONE | {"layer1.0.se.fc1.weight": torch.ones(1)}, r"a ResNet with attention in its blocks; .*no layer1\.0\.se"),
        (at("a.", ONE, SEQUENTIAL) | {"a.4.0.conv1.bias": torch.ones(16)}, r"which has no 4\.0\.conv1\.bias"),
        (ONE | {"conv1.weight": torch.ones(16, 1, 3, 3)}, r"conv1\.weight is \[16, 3, 3, 3\]; here .* \[16, 1, 3, 3\]"),
    ],
)  # fmt: skip
def test_another_architecture_is_named(tmp_path: Path, content: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"is of another architecture than small, resnet18.*: .*{message}"):
        read(tmp_path / "in.pt", content)
    assert main([str(tmp_path / "in.pt"), str(tmp_path / "out.pt"), "--allow"]) == 2, "not even in part"
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "resnet152",
            r"it is a ResNet-152; nearest is resnet101, which has no layer2\.4\.conv1\.w.* 3\+8\+36\+3",
        ),
        ("resnext50_32x4d", r"it is a ResNeXt, whose convolutions are grouped; nearest is wide_resnet50_2"),
        ("vit_b_16", "it is a vision transformer"),
        ("swin_t", "it is a Swin transformer"),
        ("convnext_tiny", "it is a ConvNeXt"),
        ("efficientnet_b0", "it is an EfficientNet"),
        ("mobilenet_v2", "it is an EfficientNet or a MobileNet"),
        ("densenet121", "it is a DenseNet"),
        ("vgg11", "it is a VGG"),
        ("alexnet", "it is a VGG or an AlexNet"),
    ],
)
def test_torchvisions_other_networks_are_named(tmp_path: Path, name: str, message: str) -> None:
    with torch.device("meta"):
        state = getattr(torchvision.models, name)(weights=None).state_dict()
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "in.pt", {"state_dict": state})


def test_the_names_are_those_of_the_libraries() -> None:
    """As documented; timm's and transformers' own networks say the same in test_export.py."""
    names = ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer2.3.bn3.running_var",
             "layer4.0.downsample.0.weight", "layer3.0.downsample.1.num_batches_tracked"]  # fmt: skip
    assert [SEQUENTIAL.of(name) for name in names] == [
        "0.weight", "1.bias", "4.0.conv1.weight", "5.3.bn3.running_var", "7.0.downsample.0.weight",
        "6.0.downsample.1.num_batches_tracked",
    ]  # fmt: skip
    assert [DETECTRON2.of(name) for name in names] == [
        "stem.conv1.weight", "stem.conv1.norm.bias", "res2.0.conv1.weight", "res3.3.conv3.norm.running_var",
        "res5.0.shortcut.weight", "res4.0.shortcut.norm.num_batches_tracked",
    ]  # fmt: skip
    assert [HUGGINGFACE.of(name) for name in names] == [
        "embedder.embedder.convolution.weight", "embedder.embedder.normalization.bias",
        "encoder.stages.0.layers.0.layer.0.convolution.weight",
        "encoder.stages.1.layers.3.layer.2.normalization.running_var",
        "encoder.stages.3.layers.0.shortcut.convolution.weight",
        "encoder.stages.2.layers.0.shortcut.normalization.num_batches_tracked",
    ]  # fmt: skip


def test_a_trunk_without_statistics_starts_nothing(tmp_path: Path) -> None:
    """As one of group norm is: the same names, but no running mean."""
    torch.save({name: value for name, value in ONE.items() if "running" not in name}, tmp_path / "in.pt")
    with pytest.raises(CheckpointError, match=r"lacks trunk\.bn1\.running_mean, .*; give a file that has all"):
        layouts.load_into(build_model(Config.from_dict({"model": SMALL})), tmp_path / "in.pt")


def test_what_lies_beside_weights_is_read_as_nothing(tmp_path: Path) -> None:
    """Options and counters of the usual kinds, in torch's archives of today and of before 1.6."""
    beside = {
        "args": argparse.Namespace(path=pathlib.Path("a"), opts=argparse.Namespace(lr=np.float32(1))),
        "history": defaultdict(list, {"loss": [np.float64(1), np.int64(2)]}),
        "rng": np.random.default_rng(0).integers(9, size=3), "flag": np.bool_(True), "dtype": np.dtype("int64"),
        "hydra": OmegaConf.create({"a": {"b": [1, 2.5, "x", True, None]}}), "set": {1, 2}, "last": deque([1, 2]),
    }  # fmt: skip
    for old in (False, True):
        path = tmp_path / f"{old}.pth.tar"
        torch.save({"state_dict": at("module.", ONE), **beside}, path, _use_new_zipfile_serialization=not old)
        assert layouts.read(path).beside == tuple(beside) and same(layouts.read(path), ONE)
