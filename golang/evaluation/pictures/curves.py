"""A run's loss curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from golang import drawing
from golang.drawing import INK
from golang.errors import DataError
from golang.evaluation.pictures.shared import save
from golang.method.collapse import uniform_losses
from golang.method.model import display_name
from golang.method.objective import NAMES as LOSS_NAMES
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


def draw_curves(run: RunFolder) -> Path:
    """Draws every loss over the steps, with the ln K of a collapsed network as reference lines.

    Raises MissingMatplotlibError, and DataError for a run without metrics.
    """
    config, lines = run.config(), read_metrics(run.metrics_file)
    if not lines:
        raise DataError(f"{run.metrics_file} holds no metrics to draw; train the run first")
    steps = [line["step"] for line in lines]
    figure = drawing.figure(8.0, 4.4)
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
    axes.set_title(f"{display_name(config)}: losses, {steps[-1]} steps on {config.data.name}", loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    return save(figure, run.curves_file)


def _reference_lines(axes: Any, uniform: Mapping[str, float]) -> None:  # noqa: ANN401 - matplotlib has no types here
    for level in sorted(set(uniform.values())):
        names = [name.removeprefix("loss_").replace("_", "-") for name in uniform if uniform[name] == level]
        which = "" if len(set(uniform.values())) == 1 else f" ({', '.join(names)})"
        axes.axhline(level, color="#888888", linestyle=":", linewidth=1.2)
        text = f"ln K = {level:.2f}{which}: a collapsed network"
        place = axes.get_yaxis_transform()  # x as a share of the width, y as a loss
        axes.text(0.995, level, text, transform=place, ha="right", va="bottom", fontsize=8, color="#666666")
