"""Two pictures of a run: its loss curves, and what each group head attends to on validation images."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from golang.config import Config
from golang.data.augment import normalise
from golang.data.images import ImageSet
from golang.data.sets import open_val
from golang.engine.distributed import pick_device
from golang.engine.health import LOSS_NAMES, uniform_losses
from golang.engine.runfolder import RunFolder
from golang.engine.tracking import read_metrics
from golang.errors import DataError
from golang.evaluation import features
from golang.evaluation.evaluate import evaluation_folder, load_model
from golang.method.model import GOLANG

LABELS = {
    "loss": "total (mean of the parts)",
    "loss_global": "global: a view predicts another's code",
    "loss_local": "local: a part predicts another view's part",
    "loss_cross_view": "cross-view: the parts predict the whole",
}
# Okabe and Ito's palette: told apart with any colour vision; lines differ in dashes too.
STYLES = (("#000000", "-"), ("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."))
INK = "#333333"
ROWS = 4  # images in the picture of attention


class MissingMatplotlibError(DataError):
    """There is nothing to draw with."""


def draw_curves(run_dir: Path | str) -> Path:
    """Draws evaluation/curves.png: every loss over the steps, with the ln K of a collapsed network as reference lines.

    Raises MissingMatplotlibError, and DataError for a run without metrics.
    """
    run = RunFolder(run_dir)
    config, lines = run.config(), read_metrics(run.metrics_file)
    if not lines:
        raise DataError(f"{run.metrics_file} holds no metrics to draw; train the run first")
    steps = [line["step"] for line in lines]
    figure = _figure(8.0, 4.4)
    axes = figure.add_subplot()
    for name, (color, dashes) in zip(LOSS_NAMES, STYLES, strict=True):
        if name in lines[0]:
            width = 2.4 if name == "loss" else 1.6
            values = [line[name] for line in lines]
            axes.plot(steps, values, color=color, linestyle=dashes, linewidth=width, label=LABELS[name])
    _reference_lines(axes, uniform_losses(config))
    axes.set_xlim(0, max(steps))
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats)")
    axes.set_title(f"{config.method.name}: losses, {steps[-1]} steps on {config.data.name}", loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    return _save(figure, evaluation_folder(run_dir) / "curves.png")


def draw_attention(run_dir: Path | str) -> Path | None:
    """Draws evaluation/attention.png: a row for each of a few validation images, a column for each group head.

    Shown is the mean over the head's channels of A·P − 1: how much more than uniform attention, 1/P a position, a
    position gets. None for SwAV, which has no attention. Raises MissingMatplotlibError, DataError without labelled
    images and CheckpointError without a checkpoint.
    """
    run = RunFolder(run_dir)
    config = run.config()
    device = pick_device(config.device, 0, 1)
    model, _, step = load_model(run, device)
    if not isinstance(model, GOLANG):
        return None
    images = open_val(config.data)
    chosen = _choose(images)
    shown = torch.stack([features.view(images.load(i), features.takes_whole(config.data)) for i in chosen])
    excess, shape = head_attention(model, shown.to(device))
    most = float(np.abs(excess).max())
    # The colours end where all but a few positions lie: one outlier would leave the rest pale.
    span = max(float(np.percentile(np.abs(excess), 98)), 0.1)
    norm = _matplotlib("colors").Normalize(-span, span)
    heads = excess.shape[1]
    figure = _figure(1.75 * (heads + 1) + 1.0, 1.95 * len(chosen) + 1.1)
    grid = figure.subplots(len(chosen), heads + 1, squeeze=False)
    for row, index in enumerate(chosen):
        pixels = shown[row].permute(1, 2, 0).numpy()
        grid[row, 0].imshow(pixels)
        grid[row, 0].set_title(_names(images, index), fontsize=8, color=INK)
        for head in range(heads):
            axes = grid[row, head + 1]
            picture = _overlay(pixels, excess[row, head].reshape(shape), norm)
            axes.imshow(picture)
            low, high = excess[row, head].min(), excess[row, head].max()
            top = f"head {head + 1}\n" if row == 0 else ""
            axes.set_title(f"{top}{low:+.1f} … {high:+.1f} %", fontsize=8, color=INK)
    for axes in grid.flat:
        axes.set_axis_off()
    bar = figure.colorbar(_scale(norm), ax=list(grid.flat), fraction=0.03, pad=0.02, aspect=40, extend="both")
    bar.set_label("attention a position gets, in percent above or below uniform", fontsize=9)
    figure.suptitle(
        f"Semantic attention of each group head after {step} steps, mean over its {_head_channels(config)} channels.\n"
        f"Nearly uniform: a position gets at most {most:.1f} % more or less than 1/{shape[0] * shape[1]}. "
        "Only that difference is shown.",
        fontsize=10,
        color=INK,
    )
    return _save(figure, evaluation_folder(run_dir) / "attention.png")


@torch.no_grad()
def head_attention(model: GOLANG, images: torch.Tensor) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """Percent above uniform, float32 [N, heads, P], of images uint8 [N, 3, s, s], and the map's height and width."""
    with features.evaluating(model):
        feature_map = model.trunk(normalise(images, torch.float32))
        attention = model.attend(feature_map)
    count, channels, positions = attention.shape
    by_head = attention.view(count, model.group_heads, channels // model.group_heads, positions).mean(2)
    excess: npt.NDArray[np.float32] = (100 * (by_head * positions - 1)).float().cpu().numpy()
    return excess, (feature_map.shape[2], feature_map.shape[3])


def _head_channels(config: Config) -> int:
    return config.model.feature_dim // config.model.group_heads


def _reference_lines(axes: Any, uniform: Mapping[str, float]) -> None:  # noqa: ANN401 - matplotlib has no types here
    for level in sorted(set(uniform.values())):
        names = [name.removeprefix("loss_").replace("_", "-") for name in uniform if uniform[name] == level]
        which = "" if len(set(uniform.values())) == 1 else f" ({', '.join(names)})"
        axes.axhline(level, color="#888888", linestyle=":", linewidth=1.2)
        text = f"ln K = {level:.2f}{which}: a collapsed network"
        place = axes.get_yaxis_transform()  # x as a share of the width, y as a loss
        axes.text(0.995, level, text, transform=place, ha="right", va="bottom", fontsize=8, color="#666666")


def _choose(images: ImageSet) -> list[int]:
    """The first images that hold two or more classes, so that heads have something to disagree on."""
    if images.labels is None:
        return list(range(min(ROWS, len(images))))
    several = np.flatnonzero((images.labels == 1).sum(1) >= 2)[:ROWS].tolist()
    return several or list(range(min(ROWS, len(images))))


def _names(images: ImageSet, index: int) -> str:
    if images.labels is None:
        return images.path(index).name
    names = [images.classes[c] for c in np.flatnonzero(images.labels[index] == 1)]
    lines = [", ".join(names[i : i + 2]) for i in range(0, min(len(names), 4), 2)]
    return "\n".join(lines) or "no object"


def _overlay(
    pixels: npt.NDArray[np.uint8],
    excess: npt.NDArray[np.float32],
    norm: Any,  # noqa: ANN401
) -> npt.NDArray[np.float32]:
    """The image [h, w, 3] in faint grey under the attention [h', w'], enlarged bilinearly, float32 [h, w, 3]."""
    height, width = pixels.shape[:2]
    wide = F.interpolate(torch.from_numpy(excess)[None, None], (height, width), mode="bilinear")[0, 0].numpy()
    color = _scale(norm).to_rgba(wide)[..., :3]
    gray = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    blend: npt.NDArray[np.float32] = color * (0.45 + 0.55 * gray[..., None])
    return blend.astype(np.float32)


def _scale(norm: Any) -> Any:  # noqa: ANN401 - matplotlib has no types here
    # Orange above, purple below, white for uniform: told apart with any colour vision.
    return _matplotlib("cm").ScalarMappable(norm, "PuOr_r")


def _matplotlib(module: str) -> Any:  # noqa: ANN401 - matplotlib has no types here
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise MissingMatplotlibError(f"pictures need matplotlib ({error}): pip install 'matplotlib>=3.8'") from error


def _figure(width: float, height: float) -> Any:  # noqa: ANN401 - matplotlib has no types here
    """A figure of its own, without pyplot: no display and no global state is touched."""
    return _matplotlib("figure").Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _save(figure: Any, path: Path) -> Path:  # noqa: ANN401 - matplotlib has no types here
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=150, format="png")
    temporary.replace(path)
    return path


def draw_all(run_dir: Path | str) -> Sequence[Path]:
    """Every picture there is to draw of a run. Raises as the single ones do."""
    drawn = [draw_curves(run_dir), draw_attention(run_dir)]
    return [path for path in drawn if path is not None]
