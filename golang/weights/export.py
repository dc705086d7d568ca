"""Folders of a trunk that timm, Hugging Face's transformers, detectron2, mmdet and mmseg load, each with a card.

Pixels are RGB from 0 to 1, normalised by the numbers that training used (`golang.data.crops.device`), and an image is
seen as evaluations see it: the shorter side resized, bilinear, to 256 for a middle of 224.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from golang.config.checks import TRUNK_CHANNELS
from golang.data.crops.device import MEAN, STD
from golang.disk import whole
from golang.errors import CheckpointError
from golang.weights import arrays, formats

if TYPE_CHECKING:
    from golang.weights.card import Facts
    from golang.weights.layouts import Layout, Weights

SIZE, SHARE = 224, 0.875  # pixels a side, and which part of the resized image's shorter side that is
BILINEAR = 2  # Pillow's number
Fill = Callable[[BinaryIO], object]

_DEPTHS = {
    "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3),
    "wide_resnet50_2": (3, 4, 6, 3), "wide_resnet101_2": (3, 4, 23, 3),
}  # fmt: skip
_BASIC = ("resnet18", "resnet34")
_WIDE = ("wide_resnet50_2", "wide_resnet101_2")
_ABLE = {
    "timm": tuple(_DEPTHS),
    "huggingface": tuple(t for t in _DEPTHS if t not in _WIDE),
    "detectron2": tuple(_DEPTHS),
    "mmdet": tuple(t for t in _DEPTHS if t not in _WIDE),
}
FOLDERS = tuple(_ABLE)


def write(path: Path, weights: Weights, layout: Layout, facts: Facts) -> None:
    """Writes a folder that the library `layout` loads, whole or not at all. Raises CheckpointError where there is
    something already, where the library has no such trunk, or where nothing can be written."""
    if path.exists():
        raise CheckpointError(f"{path} exists already, and nothing is overwritten; choose another name or delete it")
    if weights.trunk not in _ABLE[layout]:
        raise CheckpointError(
            f"{layout} has no {weights.trunk}, but {', '.join(_ABLE[layout])}; --to trunk or --to safetensors writes "
            "its tensors alone"
        )
    tensors = weights.arranged(layout)
    parts: dict[str, Fill] = {"README.md": _text(facts.card(layout, weights.trunk, path.name))}
    if layout == "detectron2":
        content = {"model": tensors, "__author__": "GOLANG", "matching_heuristics": True}
        parts["model.pkl"] = lambda file: arrays.write(content, file)
    elif layout == "mmdet":
        parts["model.pth"] = lambda file: torch.save(tensors, file)
    else:
        parts["model.safetensors"] = lambda file: formats.put_safetensors(tensors, file)
        parts["config.json"] = _text(
            _json(_timm(weights.trunk) if layout == "timm" else huggingface_settings(weights.trunk))
        )
    if layout == "huggingface":
        parts["preprocessor_config.json"] = _text(_json(_preprocessor()))
    try:
        _put_folder(path, parts)
    except OSError as error:
        raise CheckpointError(f"{path} can't be written: {error.strerror}") from error


def detectron2_settings(trunk: str, file: str) -> dict[str, Any]:
    """The settings that make detectron2's ResNet this trunk, and its pixels those that this trunk knows."""
    resnet: dict[str, Any] = {"DEPTH": _layers(trunk), "STRIDE_IN_1X1": False}
    if trunk in _BASIC:
        resnet["RES2_OUT_CHANNELS"] = 64
    if trunk in _WIDE:
        resnet["WIDTH_PER_GROUP"] = 128
    return {
        "MODEL": {
            "WEIGHTS": file,
            "PIXEL_MEAN": _levels(MEAN),
            "PIXEL_STD": _levels(STD),
            "RESNETS": resnet,
        },
        "INPUT": {"FORMAT": "RGB"},
    }


def mmdet_settings(trunk: str, file: str) -> dict[str, Any]:
    """The parts of a model's settings that make mmdet's or mmseg's ResNet this trunk, and its pixels those that this
    trunk knows; both read images as BGR."""
    return {
        "data_preprocessor": {"mean": _levels(MEAN), "std": _levels(STD), "bgr_to_rgb": True},
        "backbone": {
            "type": "ResNet", "depth": _layers(trunk), "style": "pytorch",
            "init_cfg": {"type": "Pretrained", "checkpoint": file, "prefix": "backbone."},
        },
    }  # fmt: skip


def _layers(trunk: str) -> int:
    return sum(_DEPTHS[trunk]) * (2 if trunk in _BASIC else 3) + 2


def _levels(shares: Sequence[float]) -> list[float]:
    """Of pixels from 0 to 255."""
    return [round(255 * value, 3) for value in shares]


def _timm(trunk: str) -> dict[str, Any]:
    """What timm's config.json says of a model."""
    return {
        "architecture": trunk,
        "num_classes": 0,
        "num_features": TRUNK_CHANNELS[trunk],
        "pretrained_cfg": {
            "tag": "golang", "custom_load": False, "num_classes": 0, "input_size": [3, SIZE, SIZE],
            "fixed_input_size": False, "pool_size": [7, 7], "interpolation": "bilinear", "crop_pct": SHARE,
            "crop_mode": "center", "mean": list(MEAN), "std": list(STD), "first_conv": "conv1", "classifier": "fc",
        },
    }  # fmt: skip


def huggingface_settings(trunk: str) -> dict[str, Any]:
    """What transformers' config.json says of a ResNet."""
    width = 1 if trunk in _BASIC else 4
    return {
        "architectures": ["ResNetModel"], "model_type": "resnet", "num_channels": 3, "embedding_size": 64,
        "hidden_sizes": [width * channels for channels in (64, 128, 256, 512)], "depths": list(_DEPTHS[trunk]),
        "layer_type": "basic" if trunk in _BASIC else "bottleneck", "hidden_act": "relu",
        "downsample_in_first_stage": False, "downsample_in_bottleneck": False,
    }  # fmt: skip


def _preprocessor() -> dict[str, Any]:
    """What transformers' image processor of its ResNets takes: an image's middle, and its numbers."""
    return {
        "image_processor_type": "ConvNextImageProcessor", "do_resize": True, "size": {"shortest_edge": SIZE},
        "crop_pct": SHARE, "resample": BILINEAR, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": list(MEAN), "image_std": list(STD),
    }  # fmt: skip


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


def _text(text: str) -> Fill:
    return lambda file: file.write(text.encode())


def _put_folder(path: Path, parts: Mapping[str, Fill]) -> None:
    """Makes a folder of files under another name, and gives it its own once they are all there. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        for name, fill in parts.items():
            whole.put(temporary / name, fill)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
