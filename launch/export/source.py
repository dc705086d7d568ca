"""What of a sweep is exported: its runs' settings without secrets, their metrics, and what evaluations found."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from golang.config import refuse_secret
from golang.errors import ConfigError, GolangError
from golang.records.record import Record
from golang.records.table import Runs, row, runs
from golang.runfolder.files import as_number
from golang.runfolder.results import per_class
from launch.settings import secret_in


class ExportError(GolangError):
    """The export can't be made."""


def runs_of(sweep: Path) -> Runs:
    """The runs of a sweep. Raises ExportError if there is none."""
    found = runs(sweep)
    if not found:
        raise ExportError(f"{sweep} holds no run to export; python -m launch status lists what there is")
    return found


def kept_settings(run: Record) -> dict[str, Any]:
    """The settings of a run, but for those that look like a key, a token or a password by name or by value."""
    return {key: value for key, value in run.settings.items() if not _is_secret(key, value)}


def kept_row(run: Record) -> dict[str, Any]:
    """As `golang.records.table.row`, of `kept_settings`."""
    dropped = run.settings.keys() - kept_settings(run).keys()
    return {key: value for key, value in row(run).items() if key not in dropped}


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in a line of metrics, NaN and Inf among them, but for the step and the time."""
    found = {}
    for key, value in line.items():
        if key in ("step", "time"):
            continue
        if as_number(value) is not None or (isinstance(value, float) and not math.isfinite(value)):
            found[key] = value if abs(value) < 2**63 else float(value)
    return found


def kept_line(run: Record, line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics as a row: the run, the step, the time, and `numbers`; of anything else a column has nothing."""
    times = {"time": str(line["time"])} if "time" in line else {}
    return {"run": run.name, "step": line["step"], **times, **numbers(line)}


def classes(run: Record) -> Iterator[dict[str, Any]]:
    """A row for each class that an evaluation of the run measured, in points."""
    for name, facts in run.evaluations().items():
        mask = facts.get("mask")
        measured = {str(facts.get("measure", "AP")): facts, "mask AP": mask if isinstance(mask, dict) else {}}
        for measure, own in measured.items():
            for label, points in per_class(own).items():
                yield {"run": run.name, "evaluation": name, "measure": measure, "class": label, "points": points}


def text(value: object) -> str:
    """A setting's value where only text can stand."""
    return value if isinstance(value, str) else json.dumps(value)


def _is_secret(key: str, value: object) -> bool:
    try:
        refuse_secret(key)
    except ConfigError:
        return True
    return bool(re.search(r"(^|[._])key$", key, re.IGNORECASE) or secret_in(text(value)))
