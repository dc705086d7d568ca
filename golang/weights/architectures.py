"""Which trunk a file's tensors are of; and, of a network that is none of this project's, which one it is."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from golang.errors import CheckpointError
from golang.method.trunk import TRUNKS, build_trunk

ROOMS = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")  # what a trunk's names begin with
# What names give another architecture away, the most particular first.
_OTHERS = (
    (r"relative_position_bias_table", "a Swin transformer"),
    (r"attnpool\.", "CLIP's ResNet, which has a stem of three convolutions and attention for pooling"),
    (r"text_projection$|(^|\.)text_model\.|logit_scale$", "a network of images and texts, as CLIP is"),
    (r"patch_embed|patch_embedding|cls_token|class_token", "a vision transformer (ViT)"),
    (r"encoder_layer_\d|(^|\.)blocks\.\d+\.attn\.|transformer|\.attention\.", "a transformer"),
    (r"conv_stem\.|_depthwise_conv|features\.\d+\.conv\.", "an EfficientNet or a MobileNet"),
    (r"dwconv|conv_dw\.|downsample_layers\.|layer_scale", "a ConvNeXt or a network of depthwise convolutions"),
    (r"features\.\d+\.\d+\.block\.", "an EfficientNet or a MobileNet"),
    (r"denseblock\d", "a DenseNet"),
    (r"trunk_output\.|(^|\.)s\d\.b\d+\.", "a RegNet"),
    (r"Mixed_\d|inception", "an Inception network"),
    (r"res\d_\d+_branch", "a ResNet by Caffe2's names, whose strides are in other places"),
    (r"(^|\.)conv1\.0\.weight$|stem\.[03]\.", "a ResNet with a stem of several convolutions"),
    (r"layer\d\.\d+\.(se|attn)\.", "a ResNet with attention in its blocks"),
    (r"layer\d\.\d+\.shortcut\.", "a ResNet for small images, whose stem and names are other ones"),
    (r"(^|\.)features\.0\.weight$", "a VGG or an AlexNet"),
)


def which_trunk(
    tensors: Mapping[str, Tensor], path: Path, surplus: Sequence[str] = (), everything: Iterable[str] = ()
) -> str:
    """The architecture with most of these names and shapes, and no other shape under one of its names.

    Raises CheckpointError where there is none, and for tensors in the trunk's rooms that it has no place for: those
    that are `surplus` in any trunk, and those of a deeper one. `everything` is what else tells what network it is.
    """
    shapes = {trunk: trunk_shapes(trunk) for trunk in TRUNKS}
    fitting = {
        trunk: sum(name in tensors and tensors[name].shape == shape for name, shape in wanted.items())
        for trunk, wanted in shapes.items()
    }
    best = max(TRUNKS, key=lambda trunk: (fitting[trunk], -len(shapes[trunk])))
    refused = f"{path} is of another architecture than {', '.join(TRUNKS)}: "
    if what := described(everything) or _drawn(tensors, surplus):
        refused += f"it is {what}; "
    refused += f"nearest is {best}"
    for name, shape in shapes[best].items():
        if not fitting[best] or (name in tensors and tensors[name].shape != shape):
            found = list(tensors[name].shape) if name in tensors else "missing"
            raise CheckpointError(f"{refused}, where {name} is {list(shape)}; here it is {found}")
    deeper = [name for name in tensors if name not in shapes[best] and name.startswith(ROOMS)]
    if odd := [*deeper, *surplus]:
        raise CheckpointError(f"{refused}, which has no {odd[0]}; the stages here have {blocks(tensors, odd)} blocks")
    return best


@functools.lru_cache(maxsize=len(TRUNKS))
def trunk_shapes(trunk: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: value.shape for name, value in build_trunk(trunk).state_dict().items()}


def described(names: Iterable[str]) -> str:
    """What a network is by the names of its tensors; "" where they don't give it away."""
    everything = list(names)
    return next((what for pattern, what in _OTHERS if any(re.search(pattern, name) for name in everything)), "")


def _drawn(tensors: Mapping[str, Tensor], surplus: Sequence[str]) -> str:
    """What a ResNet is by its sizes; "" where they say nothing."""
    inner, stem = tensors.get("layer1.0.conv2.weight"), tensors.get("conv1.weight")
    if inner is not None and inner.dim() == 4 and 0 < inner.shape[1] < len(inner):
        return "a ResNeXt, whose convolutions are grouped"
    if stem is not None and stem.dim() == 4 and len(stem) == 64 and stem.shape[-1] < 7:
        return "a ResNet for small images, whose first convolution is a small one"
    return {"3+8+36+3": "a ResNet-152"}.get(blocks(tensors, surplus), "")


def blocks(*names: Iterable[str]) -> str:
    """How many blocks each stage has, by torchvision's names: "3+8+36+3"."""
    depth: dict[str, int] = {}
    for some in names:
        for match in filter(None, (re.match(r"layer(\d)\.(\d+)\.", name) for name in some)):
            depth[match[1]] = max(depth.get(match[1], 0), int(match[2]) + 1)
    return "+".join(str(depth[stage]) for stage in sorted(depth))
