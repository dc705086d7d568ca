"""Every evaluation below a folder as one table, a row each: evaluations.json and evaluations.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from golang.engine.runfolder import read_json, write_atomically
from golang.errors import DataError

COLUMNS = ("run", "protocol", "mAP", "mAP_best", "trunk", "images", "checkpoint")
HEADS = ("run", "protocol", "mAP", "best epoch (as published)", "trunk", "train/test images", "checkpoint")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The results below `folder`, by run and protocol: the protocols' and the quick probe's. Raises DataError if there
    is none."""
    found = []
    for path in sorted(folder.rglob("result.json")):
        facts = read_json(path)
        if facts is not None and "protocol" in facts:
            found.append(_row(folder, path.parent.parent, path.parent.name, facts))
    for path in sorted(folder.rglob("evaluation/linear.json")):
        facts = read_json(path)
        if facts is not None:
            facts |= {"train_images": facts["settings"]["train_images"], "test_images": facts["settings"]["val_images"]}
            found.append(_row(folder, path.parent, "quick linear probe", facts))
    if not found:
        raise DataError(f"there is no evaluation below {folder}; `python -m golang.evaluation RUN_DIR` makes one")
    return sorted(found, key=lambda row: (row["run"], row["protocol"]))


def write(folder: Path) -> tuple[Path, Path]:
    """Writes evaluations.json and evaluations.md to `folder`. Raises DataError if there is nothing to write."""
    found = rows(folder)
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    for row in found:
        cells = [f"{row[key]:.2f}" if isinstance(row[key], float) else str(row[key] or "") for key in COLUMNS]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    data, text = folder / "evaluations.json", folder / "evaluations.md"
    write_atomically(data, json.dumps(found, indent=1) + "\n")
    write_atomically(text, "\n".join(lines) + "\n")
    return data, text


def _row(folder: Path, evaluation: Path, protocol: str, facts: dict[str, Any]) -> dict[str, Any]:
    run = evaluation.parent if evaluation.name == "evaluation" else evaluation
    return {
        "run": run.relative_to(folder).as_posix() if run != folder else folder.name,
        "protocol": protocol,
        "mAP": float(facts["mAP"]),
        "mAP_best": facts.get("mAP_best"),
        "trunk": facts.get("labelled", {}).get("trunk", "frozen"),
        "images": f"{facts['train_images']:,} / {facts['test_images']:,}",
        "checkpoint": Path(facts["checkpoint"]).name,
    }
