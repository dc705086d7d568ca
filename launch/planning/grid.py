"""Grids: every cell of a sweep as plain settings, with as few compositions as its meaning allows.

A value is set where it belongs in settings that were composed once. What Hydra alone can say is composed anew for each
distinct choice: config groups, additions and deletions, groups of values, and everything once the settings or an
override hold an interpolation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

Compose = Callable[[list[str]], DictConfig]
Settings = dict[str, Any]


class Grid:
    """Turns the overrides of cells into settings. `compose` is Hydra's; `compositions` counts its calls."""

    def __init__(self, compose: Compose, groups: set[str]) -> None:
        self.compose, self.groups = compose, groups
        self.compositions = 0
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._bases: dict[tuple[str, ...], tuple[Settings, bool]] = {}

    def settings(self, cell: Sequence[str]) -> Settings:
        """The resolved settings of one cell, as Hydra would compose them from its overrides."""
        overrides = [self._parse(text) for text in cell]
        plain = [override for override in overrides if self._is_plain(override)]
        composed = tuple(override.input_line or "" for override in overrides if not self._is_plain(override))
        keys = [override.key_or_group for override in plain]
        others = [o.key_or_group for o in overrides if not self._is_plain(o) and o.key_or_group not in self.groups]
        if len(set(keys)) < len(keys) or any(_within(key, other) for key in keys for other in others):
            return self._compose(cell)[0]
        base, interpolates = self._base(composed)
        if interpolates:
            return self._compose(cell)[0]
        settings = dict(base)  # what a cell does not set, it shares
        for override in plain:
            *path, last = override.key_or_group.split(".")
            node = settings
            for part in path:
                inner = node.get(part)
                if not isinstance(inner, dict):
                    return self._compose(cell)[0]  # Hydra's own words for a key that is none
                node[part] = node = dict(inner)
            if last not in node or isinstance(node[last], dict):
                return self._compose(cell)[0]
            node[last] = override.value()
        return settings

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return self._parsed[text]

    def _is_plain(self, override: Override) -> bool:
        value = override.value()
        if override.is_add() or override.is_force_add() or override.is_delete() or override.package is not None:
            return False
        return override.key_or_group not in self.groups and _is_literal(value)

    def _base(self, overrides: tuple[str, ...]) -> tuple[Settings, bool]:
        if overrides not in self._bases:
            self._bases[overrides] = self._compose(overrides)
        return self._bases[overrides]

    def _compose(self, overrides: Sequence[str]) -> tuple[Settings, bool]:
        self.compositions += 1
        settings = self.compose(list(overrides))
        raw = OmegaConf.to_container(settings, resolve=False)
        resolved = OmegaConf.to_container(settings, resolve=True)
        assert isinstance(raw, dict) and isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}, "${" in json.dumps(raw, default=str)


def _within(key: str, other: str) -> bool:
    """Whether one of two dotted keys holds the other, so that their order matters."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _is_literal(value: Any) -> bool:  # noqa: ANN401 - what Hydra's grammar yields
    if isinstance(value, str):
        return "${" not in value and value != "???"
    if isinstance(value, list):
        return all(_is_literal(item) and not isinstance(item, dict) for item in value)
    return value is None or isinstance(value, (bool, int, float))
