"""Every evaluation below a folder as one table, a row each run: evaluations.json and evaluations.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from golang.errors import DataError
from golang.runfolder import files
from golang.runfolder.results import PROBE, RESULT, beside, results_in

QUICK = "quick linear probe"
LEGEND = (
    "mAP in points, on the test images. Of a protocol with epochs: after the last one (honest), and in brackets of the "
    "best one (as published). Semi-supervised evaluations train the trunk (honest); in columns that end with "
    "`-published` it is frozen (as published)."
)
DECISIONS = ("accuracy", "F1 micro", "F1 macro", "P@1", "P@3", "P@5")
DECISIONS_LEGEND = (
    "In points, on the test images. Accuracy, where each image has one class. F1 at the thresholds that suit the "
    "training images best: micro at one for all classes, macro the mean over classes, each at its own. P@k: the share "
    "of right ones among an image's k highest scores."
)
OBJECTS = ("AP50", "AP75", "mask AP", "mask AP50", "mask AP75")
OBJECTS_LEGEND = (
    "In points, on the test images. mAP is of a detection the AP of its boxes over IoU .5 to .95, of a segmentation "
    "the mean IoU of classes. The trunk is tuned, or frozen."
)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The results below `folder`: of each run, and of each checkpoint of it, its figures by evaluation. Raises
    DataError if there is none."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    probed = (path.parent for path in folder.rglob(f"evaluation/{PROBE}.json"))
    for evaluation in sorted({*(path.parent.parent for path in folder.rglob(RESULT)), *probed}):
        run = evaluation.parent if evaluation.name == "evaluation" else evaluation
        name = run.relative_to(folder).as_posix() if run != folder else folder.name
        for what, facts in results_in(evaluation).items():
            if {"checkpoint", "mAP"} <= facts.keys():
                file = Path(facts["checkpoint"])
                row = found.setdefault((name, file.name), {"run": name, "checkpoint": file.name, "evaluations": {}})
                row["evaluations"][shown_name(what.removesuffix(f"-{file.stem}"))] = _figures(facts)
    if not found:
        raise DataError(f"there is no evaluation below {folder}; `python -m golang.evaluation RUN_DIR` makes one")
    return [row for _, row in sorted(found.items())]


def shown_name(evaluation: str) -> str:
    """What a person calls one of `golang.runfolder.results`."""
    return QUICK if evaluation == PROBE else evaluation


def write(folder: Path) -> tuple[Path, Path]:
    """Writes evaluations.json and evaluations.md to `folder`. Raises DataError if there is nothing to write."""
    found = rows(folder)
    names = sorted({name for row in found for name in row["evaluations"]})
    table = [[row["run"], row["checkpoint"], *(_cell(row["evaluations"].get(name)) for name in names)] for row in found]
    decided = [
        [row["run"], row["checkpoint"], name, *_decisions(figures)]
        for row in found
        for name, figures in row["evaluations"].items()
        if "f1_micro" in figures
    ]
    objects = [
        [row["run"], row["checkpoint"], name, figures["trunk"], *_objects(figures)]
        for row in found
        for name, figures in row["evaluations"].items()
        if "measure" in figures
    ]
    lines = [*_markdown(["run", "checkpoint", *names], table), "", LEGEND]
    if decided:
        lines += ["", *_markdown(["run", "checkpoint", "evaluation", *DECISIONS], decided), "", DECISIONS_LEGEND]
    if objects:
        columns = ["run", "checkpoint", "evaluation", "trunk", "mAP", "measure", *OBJECTS]
        lines += ["", *_markdown(columns, objects), "", OBJECTS_LEGEND]
    data, text = folder / "evaluations.json", folder / "evaluations.md"
    files.write(data, json.dumps(found, indent=1) + "\n")
    files.write(text, "\n".join(lines) + "\n")
    return data, text


def _markdown(columns: list[str], table: list[list[str]]) -> list[str]:
    whole = [columns, ["---"] * len(columns), *table]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in whole]


def _figures(facts: dict[str, Any]) -> dict[str, Any]:
    settings = facts.get("settings", {})
    transfer = {}
    if {"measure", "AP50"} & facts.keys():  # of segmentation, of detection
        trunk = "frozen" if facts["protocol"]["frozen"] else "tuned"
        transfer = {"trunk": trunk, "measure": facts.get("measure", "AP"), **beside(facts)}
    return {
        "mAP": float(facts["mAP"]),
        "mAP_best": facts.get("mAP_best"),
        "trunk": facts.get("labelled", {}).get("trunk", "frozen"),
        "train_images": facts.get("train_images", settings.get("train_images")),
        "test_images": facts.get("test_images", settings.get("val_images")),
        **{key: facts[key] for key in ("accuracy", "f1_micro", "f1_macro", "precision_at") if key in facts},
        **transfer,
    }


def _decisions(figures: dict[str, Any]) -> list[str]:
    precisions = [figures["precision_at"].get(name.removeprefix("P@")) for name in DECISIONS[3:]]
    values = (figures.get("accuracy"), figures["f1_micro"], figures["f1_macro"], *precisions)
    return ["" if value is None else f"{value:.2f}" for value in values]


def _objects(figures: dict[str, Any]) -> list[str]:
    values = (figures.get(name) for name in OBJECTS)
    shown = ["" if value is None else f"{value:.2f}" for value in values]
    return [f"{figures['mAP']:.2f}", figures["measure"], *shown]


def _cell(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return ""
    best = f" ({figures['mAP_best']:.2f})" if figures["mAP_best"] is not None else ""
    return f"{figures['mAP']:.2f}{best}"
