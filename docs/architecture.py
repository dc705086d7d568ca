"""`python docs/architecture.py OUT.svg`: draws who may import whom, from the contracts in pyproject.toml.

Each box is a layer: what stands in it may import what stands below it, and nothing above. Numbers are the imports that
there are now, counted by module, from one layer into all below.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import grimp
from pip._vendor import tomli

from golang import drawing
from golang.sources import ROOT

WORDS = {
    "launch": "the launcher", "golang.processes": "a library call · one rank · this machine's ranks",
    "golang.memory": "what a step needs of a GPU",
    "golang.training": "the loop, step, optimiser, checkpoint", "golang.evaluation": "probes, protocols, pictures",
    "golang.engine": "one attempt on one rank: stops, saves, watchdog, listeners",
    "golang.settled": "settings as a run keeps them",
    "golang.weights": "network weights in files", "golang.tracking": "W&B, from the run's folder",
    "golang.records": "runs as records",
    "golang.runfolder": "a run's folder", "golang.data": "images to crops", "golang.method": "the method",
    "golang.config": "settings, checks, a run's identity",
    "launch.commands": "golang COMMAND", "launch.__main__": "python -m launch",
    "launch.planning": "command line → runs", "launch.monitor": "status, logs …", "launch.live": "the page, live",
    "launch.report": "report", "launch.export": "for other tools", "launch.doctor": "doctor",
    "launch.submission": "runs → queue",
    "launch.node": "on the node: entry, requeue", "launch.sweep": "a sweep's folder",
}  # fmt: skip
FILLS = ("#dbe9f6", "#fdebd3", "#dff0e0", "#efe3f3", "#f6e0e0")


def main(out: Path) -> None:
    contracts = tomli.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = [contract for contract in contracts if contract["type"] == "layers"]
    rules = [contract["name"] for contract in contracts if contract["type"] != "layers"]
    graph = grimp.build_graph("golang", "launch", exclude_type_checking_imports=True, cache_dir=None)
    figure = drawing.figure(11.0, 8.2)
    panels = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    for panel, contract in zip(panels, layered, strict=True):
        container = contract.get("containers", [""])[0]
        _draw(panel, contract["name"], [_members(layer, container) for layer in contract["layers"]], graph)
    figure.supxlabel("Also checked: " + " · ".join(rules), fontsize=8, color=drawing.INK, wrap=True)
    with drawing.matplotlib("style").context({"svg.hashsalt": "architecture", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})


def _members(layer: str, container: str) -> list[str]:
    prefix = f"{container}." if container else ""
    return [prefix + name.strip() for name in re.split(r"[|:]", layer)]


def _draw(panel, title: str, layers: list[list[str]], graph: grimp.ImportGraph) -> None:  # noqa: ANN001 - no types here
    count = len(layers)
    for row, members in enumerate(layers):
        y = count - 1 - row
        below = [name for later in layers[row + 1 :] for name in later]
        small = len(members) > 4
        for column, name in enumerate(members):
            width = 1 / len(members)
            panel.add_patch(
                drawing.matplotlib("patches").FancyBboxPatch(
                    (column * width + 0.01, y + 0.12), width - 0.02, 0.74, boxstyle="round,pad=0,rounding_size=0.02",
                    facecolor=FILLS[row % len(FILLS)], edgecolor="#777777", linewidth=0.8, mutation_aspect=count / 2,
                )
            )  # fmt: skip
            label = name.split(".")[-1] if small else name
            panel.text((column + 0.5) * width, y + 0.58, label, ha="center", va="center", fontsize=7 if small else 9)
            words = "" if small else WORDS.get(name, "")
            panel.text((column + 0.5) * width, y + 0.32, words, ha="center", va="center", fontsize=6.5, color="#555555")
        if imports := sum(_imports(graph, name, other) for name in members for other in below):
            panel.annotate("", (0.5, y - 0.1), (0.5, y + 0.12), arrowprops={"arrowstyle": "-|>", "color": "#555555"})
            panel.text(0.52, y + 0.0, str(imports), fontsize=7, color="#555555", va="center")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, count)
    panel.set_axis_off()
    panel.set_title(title, fontsize=11, color=drawing.INK)


def _imports(graph: grimp.ImportGraph, upper: str, lower: str) -> int:
    """Modules of `upper` that import one of `lower`, each pair once."""
    inside = {lower, *graph.find_descendants(lower)} if lower in graph.modules else set()
    own = {upper, *graph.find_descendants(upper)} if upper in graph.modules else set()
    return sum(len(graph.find_modules_directly_imported_by(module) & inside) for module in own)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
