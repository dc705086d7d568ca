"""Checked settings from the plain data of many cells, of which most sections are the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golang.config import Config, build
from golang.config.checks import check
from golang.runfolder.pinned import pinned
from launch.settings import Launch
from launch.sweep.find import find_one

_SECTIONS = {field.name for field in dataclasses.fields(Config) if isinstance(field.default_factory, type)}
_LAUNCH = {field.name for field in dataclasses.fields(Launch)}


class Reader:
    """Equal to Config.from_dict and Launch.from_dict; reads a section that came before from memory."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}

    def read(self, values: dict[str, Any]) -> tuple[Config, Launch]:
        """The trainer's settings and the launcher's. Raises ConfigError for anything wrong in either."""
        launch: Launch = self._once("launch", {k: v for k, v in values.items() if k in _LAUNCH}, Launch.from_dict)
        own = {key: value for key, value in values.items() if key not in _LAUNCH}
        asked = own.get("evaluation") or {}
        if (named := asked.get("checkpoint")) and not Path(str(named)).expanduser().exists():
            # A run may be named as `python -m launch` takes it.
            own["evaluation"] = asked | {"checkpoint": str(find_one(str(named), Path(launch.runs_dir)).path)}
        whole = {key: value for key, value in own.items() if key not in _SECTIONS}
        parts = {key: self._section(key, value) for key, value in own.items() if key in _SECTIONS}
        scalars: Config = self._once("", whole, lambda found: build(Config, found))
        config = pinned(dataclasses.replace(scalars, **parts))
        check(config)
        return config, launch

    def _section(self, name: str, values: Any) -> Any:  # noqa: ANN401 - any section
        return self._once(name, values, lambda found: getattr(build(Config, {name: found}), name))

    def _once(self, name: str, values: Any, read: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - any section
        key = name + json.dumps(values, default=repr)
        if key not in self._seen:
            self._seen[key] = read(values)
        return self._seen[key]
