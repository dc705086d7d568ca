"""What each group head attends to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from golang import drawing
from golang.data.crops.device import normalise
from golang.data.images import ImageSet
from golang.data.sets import open_val
from golang.drawing import INK
from golang.engine.rank import pick_device
from golang.errors import CheckpointError, ConfigError
from golang.evaluation import features
from golang.evaluation.pictures.shared import save, short
from golang.evaluation.probe.finished import load_model
from golang.method.model import GOLANG
from golang.method.trunk import build_trunk
from golang.runfolder.checkpoints import find, is_sealed
from golang.runfolder.folder import RunFolder
from golang.weights import layouts, sealed

ROWS = 4  # images in the picture of attention
HEADS = 4  # group heads of the published recipe; weights don't say how many they were trained with
NEARLY = 20.0  # percent; attention that differs less from uniform is called so


def load_golang(path: Path, heads: int | None) -> GOLANG:
    """The network of a checkpoint of any layout that has a local branch, or of a run's folder; in evaluation mode.

    `heads` is the number of group heads, by default what a run's own checkpoint says, else HEADS. Raises
    CheckpointError for weights without the local branch, ConfigError for a number of heads that does not divide it.
    """
    file = find(path)
    found = layouts.read(file)
    if missing := found.missing("published"):
        raise CheckpointError(f"{file} has no semantic attention to show: it lacks {missing[0]}")
    settings: dict[str, Any] = sealed.read(file).get("config", {}) if is_sealed(file) else {}
    heads = heads or settings.get("model", {}).get("group_heads", HEADS)
    tensors = found.tensors
    hidden, channels = tensors["projection_head.0.weight"].shape
    prototypes, dimension = tensors["prototypes.weight"].shape
    if dimension % heads or channels % heads:
        raise ConfigError(f"--heads {heads} does not divide {dimension} features and {channels} channels")
    temperature = settings.get("attention", {}).get("temperature", 1.0)
    local = len(tensors["local_prototypes.weight"])
    model = GOLANG(build_trunk(found.trunk), hidden, dimension, prototypes, local, heads, temperature)
    model.load_state_dict(tensors)
    return model.eval()


def draw_attention(run: RunFolder) -> Path | None:
    """Draws a row for each of a few validation images, a column for each group head.

    Shown is the mean over the head's channels of A·P − 1: how much more than uniform attention, 1/P a position, a
    position gets. None for SwAV, which has no attention. Raises MissingMatplotlibError, DataError without labelled
    images and CheckpointError without a checkpoint.
    """
    config = run.config()
    model, _, step = load_model(run, pick_device(config.device))
    if not isinstance(model, GOLANG):
        return None
    images = open_val(config.data)
    chosen = [images.load_nearest(index) for index in _choose(images)]
    shown = [features.view(image, features.takes_whole(config.data)) for image, _ in chosen]
    names = [_names(images, index) for _, index in chosen]
    return attention_grid(model, shown, names, f"after {step} steps", run.attention_file)


def attention_grid(model: GOLANG, shown: Sequence[torch.Tensor], names: Sequence[str], when: str, path: Path) -> Path:
    """Draws to `path` what `draw_attention` says, of images uint8 [3, h, w]. Raises MissingMatplotlibError."""
    found = [head_attention(model, pixels[None]) for pixels in shown]
    norm, most = _common_norm([excess for excess, _ in found])
    heads, positions = found[0][0].shape[1:]
    figure = drawing.figure(1.75 * (heads + 1) + 1.0, 1.95 * len(shown) + 1.1)
    grid = figure.subplots(len(shown), heads + 1, squeeze=False)
    for row, (excess, shape) in enumerate(found):
        pixels = shown[row].permute(1, 2, 0).numpy()
        grid[row, 0].imshow(pixels)
        grid[row, 0].set_title(names[row], fontsize=8, color=INK)
        for head in range(heads):
            axes = grid[row, head + 1]
            axes.imshow(_overlay(pixels, excess[0, head].reshape(shape), norm))
            low, high = excess[0, head].min(), excess[0, head].max()
            top = f"head {head + 1}\n" if row == 0 else ""
            axes.set_title(f"{top}{low:+.1f} … {high:+.1f} %", fontsize=8, color=INK)
    for axes in grid.flat:
        axes.set_axis_off()
    bar = figure.colorbar(_scale(norm), ax=list(grid.flat), fraction=0.03, pad=0.02, aspect=40, extend="both")
    bar.set_label("attention a position gets, in percent above or below uniform", fontsize=9)
    channels = model.prototypes.in_features // heads
    figure.suptitle(
        f"Semantic attention of each group head {short(when)}, mean over its {channels} channels.\n"
        f"{'Nearly uniform: a' if most < NEARLY else 'A'} position gets at most {most:.1f} % more or less than "
        f"1/{positions}. Only that difference is shown.",
        fontsize=10, color=INK,
    )  # fmt: skip
    return save(figure, path)


def overlays(model: GOLANG, pixels: torch.Tensor) -> list[npt.NDArray[np.uint8]]:
    """The attention of each group head over one image, uint8 [3, h, w]: a list of uint8 [h, w, 3]."""
    excess, shape = head_attention(model, pixels[None])
    norm, _ = _common_norm([excess])
    image = pixels.permute(1, 2, 0).numpy()
    pictures = [_overlay(image, head.reshape(shape), norm) for head in excess[0]]
    return [(255 * picture).round().clip(0, 255).astype(np.uint8) for picture in pictures]


@torch.no_grad()
def head_attention(model: GOLANG, images: torch.Tensor) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """Percent above uniform, float32 [N, heads, P], of images uint8 [N, 3, s, s], and the map's height and width."""
    with features.evaluating(model):
        feature_map = model.trunk(normalise(images.to(model.prototypes.weight.device), torch.float32))
        attention = model.attend(feature_map)
    count, channels, positions = attention.shape
    by_head = attention.view(count, model.group_heads, channels // model.group_heads, positions).mean(2)
    excess: npt.NDArray[np.float32] = (100 * (by_head * positions - 1)).float().cpu().numpy()
    return excess, (feature_map.shape[2], feature_map.shape[3])


def _common_norm(excesses: Sequence[npt.NDArray[np.float32]]) -> tuple[Any, float]:
    """One scale of colours for all pictures, and the largest difference from uniform in percent."""
    values = np.concatenate([np.abs(excess).ravel() for excess in excesses])
    # The colours end where all but a few positions lie: one outlier would leave the rest pale.
    span = max(float(np.percentile(values, 98)), 0.1)
    return drawing.matplotlib("colors").Normalize(-span, span), float(values.max())


def _choose(images: ImageSet) -> list[int]:
    """The first images that hold two or more classes, so that heads have something to disagree on."""
    assert images.labels is not None
    several = np.flatnonzero((images.labels == 1).sum(1) >= 2)[:ROWS].tolist()
    return several or list(range(min(ROWS, len(images))))


def _names(images: ImageSet, index: int) -> str:
    assert images.labels is not None
    names = [images.classes[c] for c in np.flatnonzero(images.labels[index] == 1)]
    lines = [", ".join(names[i : i + 2]) for i in range(0, min(len(names), 4), 2)]
    return "\n".join(lines) or "no object"


def _overlay(pixels: npt.NDArray[np.uint8], excess: npt.NDArray[np.float32], norm: object) -> npt.NDArray[np.float32]:
    """The image [h, w, 3] in faint grey under the attention [h', w'], enlarged bilinearly, float32 [h, w, 3]."""
    wide = F.interpolate(torch.from_numpy(excess)[None, None], pixels.shape[:2], mode="bilinear")[0, 0].numpy()
    gray = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    return np.asarray(_scale(norm).to_rgba(wide)[..., :3] * (0.45 + 0.55 * gray[..., None]), np.float32)


def _scale(norm: object) -> Any:  # noqa: ANN401 - matplotlib has no types here
    # Orange above, purple below, white for uniform: told apart with any colour vision.
    return drawing.matplotlib("cm").ScalarMappable(norm, "PuOr_r")
