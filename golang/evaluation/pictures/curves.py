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

from golang.data.crops.device import normalise
from golang.data.images import ImageSet
from golang.data.sets import open_val
from golang.engine.rank import pick_device
from golang.errors import DataError
from golang.evaluation import features
from golang.evaluation.probe.finished import evaluation_folder, load_model
from golang.method.collapse import uniform_losses
from golang.method.model import GOLANG
from golang.method.objective import NAMES as LOSS_NAMES
from golang.runfolder.files import make_private
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics

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
NEARLY = 20.0  # percent; attention that differs less from uniform is called so


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
    chosen = [images.load_nearest(index) for index in _choose(images)]
    shown = [features.view(image, features.takes_whole(config.data)) for image, _ in chosen]
    names = [_names(images, index) for _, index in chosen]
    return attention_grid(
        model, shown, names, f"after {step} steps", evaluation_folder(run_dir) / "attention.png", device
    )


def attention_grid(
    model: GOLANG,
    shown: Sequence[torch.Tensor],
    names: Sequence[str],
    when: str,
    path: Path,
    device: torch.device | None = None,
) -> Path:
    """Draws to `path` a row for each image, uint8 [3, h, w], and a column for each group head, as `draw_attention`
    says. Raises MissingMatplotlibError."""
    found = [head_attention(model, pixels[None].to(device or "cpu")) for pixels in shown]
    norm, most = _common_norm([excess for excess, _ in found])
    heads, positions = found[0][0].shape[1:]
    figure = _figure(1.75 * (heads + 1) + 1.0, 1.95 * len(shown) + 1.1)
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
        f"Semantic attention of each group head {_short(when)}, mean over its {channels} channels.\n"
        f"{'Nearly uniform: a' if most < NEARLY else 'A'} position gets at most {most:.1f} % more or less than "
        f"1/{positions}. Only that difference is shown.",
        fontsize=10,
        color=INK,
    )
    return _save(figure, path)


def attention_overlays(model: GOLANG, pixels: torch.Tensor, device: torch.device) -> list[npt.NDArray[np.uint8]]:
    """The attention of each group head over one image, uint8 [3, h, w]: a list of uint8 [h, w, 3]."""
    excess, shape = head_attention(model, pixels[None].to(device))
    norm, _ = _common_norm([excess])
    image = pixels.permute(1, 2, 0).numpy()
    pictures = [_overlay(image, head.reshape(shape), norm) for head in excess[0]]
    return [(255 * picture).round().clip(0, 255).astype(np.uint8) for picture in pictures]


def draw_classes(names: tuple[str, str], scores: tuple[Mapping[str, float], Mapping[str, float]], path: Path) -> Path:
    """Draws to `path` the average precision of every class, in points, of two evaluations as pairs of bars; the class
    where the first leads most is on top.

    Raises MissingMatplotlibError, and DataError when the two are not of the same classes.
    """
    if scores[0].keys() != scores[1].keys():
        raise DataError(f"{names[0]} and {names[1]} were evaluated on other classes, so there is nothing to compare")
    order = sorted(scores[0], key=lambda name: scores[0][name] - scores[1][name])
    figure = _figure(8.0, 1.4 + 0.26 * len(order))
    axes = figure.add_subplot()
    middle = np.arange(len(order))
    for which, (color, hatch) in enumerate((("#0072B2", ""), ("#E69F00", "///"))):
        values = [scores[which][name] for name in order]
        label = f"{_short(names[which], 80)}: mAP {np.mean(values):.1f}"
        axes.barh(middle + 0.2 - 0.4 * which, values, 0.4, color=color, hatch=hatch, edgecolor="white", label=label)
    for y, name in enumerate(order):
        ahead = scores[0][name] - scores[1][name]
        axes.text(max(scores[0][name], scores[1][name]) + 0.6, y, f"{ahead:+.1f}", va="center", fontsize=7, color=INK)
    axes.set_yticks(middle, order, fontsize=8)
    axes.margins(x=0.08)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlabel("average precision (points); beside the bars, by how much the first leads")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9)
    return _save(figure, path)


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


def _short(text: str, longest: int = 40) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-longest // 2 :]}"


def _common_norm(excesses: Sequence[npt.NDArray[np.float32]]) -> tuple[Any, float]:
    """One scale of colours for all pictures, and the largest difference from uniform in percent."""
    values = np.concatenate([np.abs(excess).ravel() for excess in excesses])
    # The colours end where all but a few positions lie: one outlier would leave the rest pale.
    span = max(float(np.percentile(values, 98)), 0.1)
    return _matplotlib("colors").Normalize(-span, span), float(values.max())


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
    make_private(path.parent)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=150, format="png")
    temporary.replace(path)
    return path


def draw_all(run_dir: Path | str) -> Sequence[Path]:
    """Every picture there is to draw of a run. Raises as the single ones do."""
    drawn = [draw_curves(run_dir), draw_attention(run_dir)]
    return [path for path in drawn if path is not None]
