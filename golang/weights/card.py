"""The card of an exported trunk: what it was trained on and how, what it was measured at, how it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golang.config import Config
from golang.config.checks import TRUNK_CHANNELS
from golang.config.identity import run_id
from golang.data.crops.device import MEAN, STD
from golang.errors import ConfigError
from golang.method.model import display_name
from golang.runfolder import checkpoints
from golang.runfolder.files import as_number
from golang.runfolder.folder import RunFolder
from golang.runfolder.pinned import digest
from golang.runfolder.results import PROBE, results
from golang.weights import export, sealed

if TYPE_CHECKING:
    from golang.weights.layouts import Layout, Weights

_LIBRARIES = {"timm": "timm", "huggingface": "transformers", "detectron2": "detectron2", "mmdet": "mmdet"}
_TIMM = """\
```python
import timm

model = timm.create_model("local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
features = model(transform(image)[None])  # [1, {channels}], average-pooled; forward_features for the map
```

In a repository of the Hugging Face Hub it is `hf-hub:OWNER/NAME` in place of `local-dir:{folder}`."""
_HUGGINGFACE = """\
```python
from transformers import AutoImageProcessor, ResNetModel

processor = AutoImageProcessor.from_pretrained("{folder}")
model = ResNetModel.from_pretrained("{folder}").eval()
output = model(**processor(image, return_tensors="pt"))
output.last_hidden_state  # [1, {channels}, 7, 7]; pooler_output is its average
```"""
_DETECTRON2 = """\
`model.pkl` is a ResNet by detectron2's names, for any configuration whose backbone is one. Add these lines to it:

```yaml
{settings}
```

Pixels are RGB, not detectron2's usual BGR, and the stride is in the 3×3 convolution, as in torchvision's ResNets."""
_MMDET = """\
`model.pth` is the ResNet of mmdet and mmseg, under `backbone.`. A configuration of these lines that inherits by
`_base_` from any whose backbone is one starts from it:

```python
{settings}
```

Pixels are RGB. In mmseg the backbone is a plain ResNet, not the ResNetV1c that its configurations start from, and
`pretrained=None` takes their weights away."""


@dataclass(frozen=True)
class Facts:
    """What is known of the training of some weights."""

    method: str  # as its authors write it; "" where nobody knows
    data: str
    rows: tuple[tuple[str, str], ...]  # (what, how much), for people

    @property
    def _pixels(self) -> str:
        if self.method:
            return "It was trained with these numbers."
        return "They are this project's; which ones the weights were trained with, their file does not say."

    def card(self, layout: Layout, trunk: str, folder: str) -> str:
        """README.md of an export to the folder of that name."""
        title = f"{trunk}, pre-trained with {self.method} on {self.data}" if self.method else trunk
        table = "\n".join(f"| {what} | {value} |" for what, value in self.rows)
        return f"""\
---
library_name: {_LIBRARIES[layout]}
pipeline_tag: image-feature-extraction
license: other
tags:
- self-supervised-learning
- {trunk}
---
# {title}

| | |
|---|---|
{table}

## Load it

{_usage(layout, trunk, folder)}

## Pixels

RGB from 0 to 1, less {", ".join(map(str, MEAN))}, by {", ".join(map(str, STD))}
(red's deviation is not ImageNet's usual 0.229). {self._pixels}
An image is seen as in evaluations: the shorter side resized, bilinearly, to {round(export.SIZE / export.SHARE)}, and of
that the middle {export.SIZE} × {export.SIZE}.

## Licence

None is stated: whoever publishes these weights says under which they are (`license` above), with regard to that of the
images they were trained on.
"""


def facts(file: Path, weights: Weights) -> Facts:
    """What a checkpoint says of its training, and its run's folder of its evaluations."""
    state: dict[str, Any] = sealed.read(file) if checkpoints.is_sealed(file) else {}
    rows = [("trunk", weights.trunk)]
    method = data = ""
    config = _settings(state)
    if config is None:
        rows.append(("from", f"a file of the layout {weights.origin}"))
    else:
        method, data = display_name(config), config.data.name
        rows += [("method", method), ("data set", data), *_training(config, state)]
    rows += [("checkpoint's SHA-256", f"`{digest(file)}`"), *_results(file)]
    return Facts(method, data, tuple(rows))


def _settings(state: dict[str, Any]) -> Config | None:
    """Those that a run's checkpoint was made with; None for another file."""
    try:
        return Config.from_dict(state["config"]) if isinstance(state.get("config"), dict) else None
    except ConfigError:
        return None


def _training(config: Config, state: dict[str, Any]) -> Iterator[tuple[str, str]]:
    optim, fingerprint = config.optim, state.get("fingerprint")
    if isinstance(fingerprint, dict):
        yield "images", str(fingerprint.get("images"))
    yield "epochs", str(optim.epochs)
    yield "steps", str(state.get("step"))
    yield "batch size", f"{optim.batch_size} images, over all GPUs"
    yield (
        "crops",
        f"2 of {config.augment.large_size} px, {config.augment.small_count} of {config.augment.small_size} px",
    )
    yield "precision", config.precision
    yield "seed", str(config.seed)
    yield "run", f"`{run_id(config)}`"
    if config.model.init_sha256:
        yield "started from", f"weights of SHA-256 `{config.model.init_sha256}`"


def _results(file: Path) -> Iterator[tuple[str, str]]:
    """mAP in points of each evaluation of this checkpoint."""
    run = RunFolder(file.absolute().parent.parent)
    if file.absolute().parent != run.checkpoints:
        return
    for name, found in results(run).items():
        points = as_number(found.get("mAP"))
        if points is not None and Path(str(found.get("checkpoint"))).name == file.name:
            what = "quick linear probe" if name == PROBE else name
            yield f"mAP, {what}", f"{points:.2f}"


def _usage(layout: Layout, trunk: str, folder: str) -> str:
    if layout == "detectron2":
        return _DETECTRON2.format(settings=_yaml(export.detectron2_settings(trunk, f"{folder}/model.pkl")))
    if layout == "mmdet":
        return _MMDET.format(settings=_python({"model": export.mmdet_settings(trunk, f"{folder}/model.pth")}))
    text = _TIMM if layout == "timm" else _HUGGINGFACE
    return text.format(folder=folder, channels=TRUNK_CHANNELS[trunk])


def _yaml(values: dict[str, Any], indent: str = "") -> str:
    """Settings in YAML's block style, lists in a line."""
    lines = []
    for key, value in values.items():
        inner = f"\n{_yaml(value, indent + '  ')}" if isinstance(value, dict) else f" {json.dumps(value)}"
        lines.append(f"{indent}{key}:{inner}")
    return "\n".join(lines)


def _python(values: dict[str, Any], indent: str = "") -> str:
    """Settings as assignments of Python, mappings as dict(…)."""
    inner = indent + "    "
    lines = []
    for key, value in values.items():
        said = f"dict(\n{_python(value, inner)}\n{indent})" if isinstance(value, dict) else repr(value)
        lines.append(f"{indent}{key}={said}," if indent else f"{key} = {said}")
    return "\n".join(lines)
