"""Exports are loaded by the libraries that they are for, compute the same features there, and come back bit for bit."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
import transformers
import yaml
from PIL import Image
from torch import Tensor

from golang.config import Config
from golang.config.checks import TRUNK_CHANNELS
from golang.data.crops.device import normalise
from golang.disk import whole
from golang.errors import CheckpointError
from golang.evaluation.features import view
from golang.evaluation.job import load_trunk
from golang.method.model import build_model
from golang.method.trunk import build_trunk
from golang.weights import arrays, export, layouts
from golang.weights.__main__ import IncompleteError, convert, main
from golang.weights.architectures import trunk_shapes
from tests.unit.test_projects import ONE, same, trunk

NAMES = [name for name in TRUNK_CHANNELS if name != "small"]
PARTS = {
    "timm": {"README.md", "config.json", "model.safetensors"},
    "huggingface": {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"},
    "detectron2": {"README.md", "model.pkl"},
    "mmdet": {"README.md", "model.pth"},
}


def natural(name: str) -> dict[str, Tensor]:
    """A trunk as it is initialised, with statistics that are none of a fresh one, so that features stay finite."""
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = build_trunk(name).state_dict()
    for key, value in state.items():
        if key.endswith(("running_mean", "running_var", "bias")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif not value.is_floating_point():
            value.fill_(11)
    return state


def exported(folder: Path, name: str, layout: str) -> tuple[Path, dict[str, Tensor]]:
    state = natural(name)
    torch.save(state, folder / "in.pt")
    assert main([str(folder / "in.pt"), str(folder / "out"), "--to", layout]) == 0
    return folder / "out", state


@torch.no_grad()
def features(folder: Path, images: Tensor) -> Tensor:
    return load_trunk(folder / "in.pt")[0].eval()(images)


def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def close(mine: Tensor, theirs: Tensor) -> bool:
    return mine.shape == theirs.shape and torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5 * float(mine.abs().max()))


@torch.no_grad()
def test_timm_loads_a_wide_one(tmp_path: Path) -> None:
    folder, _ = exported(tmp_path, "wide_resnet50_2", "timm")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert close(features(tmp_path, images()), model.forward_features(images()))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_timm_loads_its_folder(tmp_path: Path, name: str) -> None:
    folder, state = exported(tmp_path, name, "timm")
    assert {path.name for path in folder.iterdir()} == PARTS["timm"]
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    mine = features(tmp_path, images())
    with torch.no_grad():
        assert close(mine, model.forward_features(images())) and close(mine.mean((2, 3)), model(images()))
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"), strict=True)
    wanted = timm.data.resolve_model_data_config(model)
    assert [*wanted["mean"], *wanted["std"]] == [0.485, 0.456, 0.406, 0.228, 0.224, 0.225]
    assert [*wanted["input_size"], wanted["crop_pct"], wanted["interpolation"]] == [3, 224, 224, 0.875, "bilinear"]
    convert(folder, tmp_path / "back.pt", "own", allow=True)
    assert same(layouts.read(tmp_path / "back.pt"), state)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_transformers_loads_its_folder(tmp_path: Path, name: str) -> None:
    folder, state = exported(tmp_path, name, "huggingface")
    assert {path.name for path in folder.iterdir()} == PARTS["huggingface"]
    model, said = transformers.ResNetModel.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    with torch.no_grad():
        output = model.eval()(images())
    mine = features(tmp_path, images())
    assert close(mine, output.last_hidden_state) and close(mine.mean((2, 3)), output.pooler_output.flatten(1))
    convert(folder, tmp_path / "back.pt", "trunk", allow=False)
    assert layouts.read(folder / "model.safetensors").origin == "Hugging Face"
    assert same(layouts.read(tmp_path / "back.pt"), state)


def test_transformers_classifier_is_read(tmp_path: Path) -> None:
    """As its hub has them: behind `resnet.`, with a classifier."""
    config = transformers.ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "hub")
    rows = convert(tmp_path / "hub", tmp_path / "in.pt", "trunk", allow=True)
    assert {there for there, _, fate in rows if fate == "excluded"} == {"classifier.1.weight", "classifier.1.bias"}
    with torch.no_grad():
        assert close(features(tmp_path, images()), model.resnet(images()).last_hidden_state)


def test_pixels_are_prepared_as_ours_are(tmp_path: Path) -> None:
    folder, _ = exported(tmp_path, "resnet18", "huggingface")
    convert(tmp_path / "in.pt", tmp_path / "timm", "timm", allow=False)
    noise = np.random.default_rng(5).integers(0, 256, (256, 256, 3), dtype=np.uint8)  # which no one has to resize
    image = Image.fromarray(noise)
    mine = normalise(view(image, whole=False)[None], torch.float32)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    assert torch.allclose(mine, processor(image, return_tensors="pt")["pixel_values"], atol=1e-5)
    model = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    assert torch.allclose(mine, transform(image)[None], atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_detectron2_has_its_names_and_numbers(tmp_path: Path, name: str) -> None:
    folder, state = exported(tmp_path, name, "detectron2")
    assert {path.name for path in folder.iterdir()} == PARTS["detectron2"]
    content = pickle.loads((folder / "model.pkl").read_bytes())
    assert set(content) == {"model", "__author__", "matching_heuristics"} and content["matching_heuristics"] is True
    model = content["model"]
    assert len(model) == len(state) and all(type(value) is np.ndarray for value in model.values())
    for theirs, ours in (
        ("stem.conv1.weight", "conv1.weight"), ("stem.conv1.norm.running_mean", "bn1.running_mean"),
        ("res3.0.shortcut.weight", "layer2.0.downsample.0.weight"), ("res5.1.conv2.norm.bias", "layer4.1.bn2.bias"),
    ):  # fmt: skip
        assert np.array_equal(model[theirs], state[ours].numpy())
    card = (folder / "README.md").read_text()
    settings = yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0])
    assert settings["MODEL"]["PIXEL_MEAN"] == [123.675, 116.28, 103.53] and settings["INPUT"]["FORMAT"] == "RGB"
    assert settings["MODEL"]["PIXEL_STD"] == [58.14, 57.12, 57.375]
    resnet = settings["MODEL"]["RESNETS"]
    assert resnet.pop("STRIDE_IN_1X1") is False
    assert resnet == {"resnet18": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64}, "resnet50": {"DEPTH": 50}}[name]
    convert(folder, tmp_path / "back.pt", "trunk", allow=False)
    assert same(layouts.read(tmp_path / "back.pt"), state)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_mmdet_has_its_names_and_numbers(tmp_path: Path, name: str) -> None:
    folder, state = exported(tmp_path, name, "mmdet")
    assert {path.name for path in folder.iterdir()} == PARTS["mmdet"]
    content = torch.load(folder / "model.pth", weights_only=True)
    with torch.device("meta"):
        wanted = {key: value.shape for key, value in torchvision.models.get_model(name).state_dict().items()}
    del wanted["fc.weight"], wanted["fc.bias"]
    assert set(content) == {"state_dict"}
    assert {key: value.shape for key, value in content["state_dict"].items()} == {
        f"backbone.{key}": shape for key, shape in wanted.items()
    }
    assert all(torch.equal(content["state_dict"][f"backbone.{key}"], value) for key, value in state.items())
    found: dict[str, Any] = {}
    exec((folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0], found)
    assert found["model"] == {
        "data_preprocessor": {
            "mean": [123.675, 116.28, 103.53], "std": [58.14, 57.12, 57.375], "bgr_to_rgb": True,
        },
        "backbone": {
            "type": "ResNet", "depth": int(name.removeprefix("resnet")), "style": "pytorch",
            "init_cfg": {"type": "Pretrained", "checkpoint": "out/model.pth", "prefix": "backbone."},
        },
    }  # fmt: skip
    convert(folder, tmp_path / "back.pt", "trunk", allow=False)
    assert same(layouts.read(tmp_path / "back.pt"), state)


@pytest.mark.parametrize("name", NAMES)
def test_every_trunk_has_the_names_and_sizes_of_the_libraries(name: str) -> None:
    shapes = trunk_shapes(name)
    with torch.device("meta"):
        wanted = {"timm": timm.create_model(name, num_classes=0)}
        if "wide" not in name:
            config = transformers.ResNetConfig(**export.huggingface_settings(name))
            wanted["huggingface"] = transformers.ResNetModel(config)
    for layout, model in wanted.items():
        theirs = {key: value.shape for key, value in model.state_dict().items()}
        assert theirs == {layouts.name_in(layout, key): shape for key, shape in shapes.items()}


def test_detectron2_builds_every_trunk_by_settings() -> None:
    resnets = {name: export.detectron2_settings(name, "x")["MODEL"]["RESNETS"] for name in NAMES}
    assert {name: resnet["DEPTH"] for name, resnet in resnets.items()} == {
        name: int(name.removeprefix("wide_").removeprefix("resnet").partition("_")[0]) for name in NAMES
    }
    wide = [name for name, resnet in resnets.items() if resnet.get("WIDTH_PER_GROUP") == 128]
    assert wide == ["wide_resnet50_2", "wide_resnet101_2"]


def test_safetensors_there_and_back(tmp_path: Path) -> None:
    torch.save(ONE, tmp_path / "in.pt")
    convert(tmp_path / "in.pt", tmp_path / "out.safetensors", "safetensors", allow=False)
    loaded = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert loaded.keys() == ONE.keys() and all(torch.equal(loaded[name], ONE[name]) for name in ONE)
    (tmp_path / "blob").write_bytes((tmp_path / "out.safetensors").read_bytes())
    assert same(layouts.read(tmp_path / "blob"), ONE), "by its content, not by its name"
    assert "(trunk layout)" in layouts.load_into(
        build_model(Config.from_dict({"model": {"trunk": "small"}})), tmp_path / "out.safetensors"
    )
    (tmp_path / "blob").write_bytes((tmp_path / "blob").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="blob is damaged"):
        layouts.read(tmp_path / "blob")


def test_without_safetensors_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(trunk("resnet18"), tmp_path / "in.pt")
    convert(tmp_path / "in.pt", tmp_path / "in.safetensors", "safetensors", allow=False)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for source, target, layout in (
        ("in.pt", "a", "timm"),
        ("in.pt", "b", "safetensors"),
        ("in.safetensors", "c", "own"),
    ):
        with pytest.raises(CheckpointError, match="`pip install safetensors`"):
            convert(tmp_path / source, tmp_path / target, layout, allow=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt", "in.safetensors"]


def test_half_of_bfloat16_is_no_array_of_numpy(tmp_path: Path) -> None:
    state = {
        name: value.bfloat16() if value.is_floating_point() else value for name, value in natural("resnet18").items()
    }
    torch.save(state, tmp_path / "in.pt")
    convert(tmp_path / "in.pt", tmp_path / "out", "detectron2", allow=False)
    found = arrays.read(tmp_path / "out/model.pkl")["model"]["stem.conv1.weight"]
    assert found.dtype == torch.float32 and torch.equal(found, state["conv1.weight"].float())


def test_nothing_is_overwritten_nor_left_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = natural("resnet18")
    torch.save(state, tmp_path / "in.pt")
    (tmp_path / "taken").mkdir()
    with pytest.raises(CheckpointError, match="taken exists already, and nothing is overwritten"):
        convert(tmp_path / "in.pt", tmp_path / "taken", "timm", allow=True)
    put = whole.put

    def full(path: Path, fill: object, durable: bool = True) -> None:
        def write(file: BinaryIO) -> None:
            fill(file)
            if path.suffix == ".safetensors":
                raise OSError(28, "No space left on device")

        put(path, write, durable)

    monkeypatch.setattr(whole, "put", full)
    with pytest.raises(CheckpointError, match="out can't be written: No space left on device"):
        convert(tmp_path / "in.pt", tmp_path / "out", "timm", allow=True)
    monkeypatch.undo()
    del state["layer4.1.conv2.weight"]
    torch.save(state, tmp_path / "in.pt")
    with pytest.raises(
        IncompleteError, match=r"missing: trunk\.layer4\.1\.conv2\.weight\nnothing .* never written in part"
    ):
        convert(tmp_path / "in.pt", tmp_path / "out", "timm", allow=True)
    torch.save(ONE, tmp_path / "in.pt")
    for layout, message in (
        ("timm", "timm has no small, but resnet18, .*wide_resnet101_2; --to trunk"),
        ("huggingface", "huggingface has no small"), ("detectron2", "detectron2 has no small"),
        ("mmdet", "mmdet has no small, but resnet18, resnet34, resnet50, resnet101; --to trunk"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=message):
            convert(tmp_path / "in.pt", tmp_path / "out", layout, allow=True)
    torch.save(trunk("wide_resnet50_2"), tmp_path / "in.pt")
    with pytest.raises(CheckpointError, match="huggingface has no wide_resnet50_2, but resnet18"):
        convert(tmp_path / "in.pt", tmp_path / "out", "huggingface", allow=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt", "taken"]
    assert not list((tmp_path / "taken").iterdir())
