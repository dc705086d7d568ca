"""What the evaluations of a run found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from golang.runfolder.files import as_number, read_json
from golang.runfolder.folder import RunFolder

PROBE = "linear"  # the quick probe, by the name of its file
RESULT = "result.json"  # in the folder of each evaluation


def results(run: RunFolder) -> dict[str, dict[str, Any]]:
    """What was found in each evaluation of a run, by the name of its folder, and by the quick probe, as PROBE; what
    cannot be read is not there."""
    return results_in(run.evaluation)


def of_protocol(names: Collection[str], protocol: str) -> list[str]:
    """Which of `results`, by their names, were found by `protocol` in the weights of a run's end: its own first, and
    with the set's name in it where it is measured on any."""
    own = [name for name in sorted(names) if name.startswith(f"{protocol}-") and "-step_" not in name]
    return [*([protocol] if protocol in names and protocol != PROBE else []), *own]


def results_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The same of any folder that holds one for each evaluation."""
    files = {path.parent.name: path for path in sorted(folder.glob(f"*/{RESULT}"))} | {PROBE: folder / f"{PROBE}.json"}
    return {name: facts for name, path in files.items() if (facts := read_json(path))}


def pictures(run: RunFolder) -> dict[str, list[Path]]:
    """The pictures that each evaluation of a run has drawn, by the name of its folder; links are none."""
    found: dict[str, list[Path]] = {}
    for path in sorted(run.evaluation.glob("*/*.png")):
        if path.is_file() and not path.is_symlink():
            found.setdefault(path.parent.name, []).append(path)
    return found


def per_class(facts: Mapping[str, Any]) -> dict[str, float]:
    """The figure of each class in what an evaluation found, in points."""
    found = facts.get("per_class")
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(label): points for label, value in pairs if (points := as_number(value)) is not None}


def beside(facts: dict[str, Any]) -> dict[str, float]:
    """What a detection found beside its mAP, in points: AP50 and AP75 of boxes; AP, AP50 and AP75 of masks. Of other
    results nothing."""
    mask = facts.get("mask")
    names = {name: facts.get(name) for name in ("AP50", "AP75")}
    if isinstance(mask, dict):
        names |= {"mask AP": mask.get("mAP"), "mask AP50": mask.get("AP50"), "mask AP75": mask.get("AP75")}
    return {name: points for name, value in names.items() if (points := as_number(value)) is not None}
