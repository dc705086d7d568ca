"""The settings of both packages from a cell's plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from golang.config import Config
from golang.config.paths import expanded
from golang.settled import Seen, identified
from launch.settings import Launch
from launch.sweep.find import find_one

_LAUNCH = {field.name for field in dataclasses.fields(Launch)}


def read(values: dict[str, Any], seen: Seen | None = None) -> tuple[Config, Launch]:
    """The trainer's settings, identified (with `seen`) but not checked, and the launcher's. Raises ConfigError for an
    unknown key or a wrong type in either, NotFoundError and CheckpointError for a run that is to be evaluated, and
    DataError for a set that can't be read."""
    launch = Launch.from_dict({key: value for key, value in values.items() if key in _LAUNCH})
    own = {key: value for key, value in values.items() if key not in _LAUNCH}
    asked = own.get("evaluation") or {}
    if (named := asked.get("checkpoint")) and not expanded(str(named)).exists():
        # A run may be named as `python -m launch` takes it.
        own["evaluation"] = asked | {"checkpoint": str(find_one(str(named), expanded(launch.runs_dir)).path)}
    return identified(Config.from_dict(own), seen), launch
