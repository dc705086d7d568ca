"""Grids: the cells of a sweep, and each as plain settings, with as few compositions as its meaning allows.

A value is set where it belongs in settings that were composed once. What Hydra alone can say is composed anew for each
distinct choice: config groups, additions and deletions, groups of values, keys within one another, and everything once
the settings or an override hold an interpolation.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from golang.errors import ConfigError
from launch.planning.compose import Compose, groups, resolved

Cell = tuple[str, ...]


def cells(overrides: Sequence[Override]) -> list[Cell]:
    """Each run's own overrides: of several for one key the last counts. To be called while `composing`, as glob()
    looks at files. Raises ConfigError for a grid without an end or without a value."""
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
            continue
        override.config_loader = GlobalHydra.instance().config_loader()
        with contextlib.suppress(ValueError):  # a range in steps of 0
            found = list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
            values[key] = [f"{key}={value}" for value in found]
        if not values.get(key):
            raise ConfigError(f"{override.input_line} names no value to run with; give a list, range() or choice()")
    return list(itertools.product(*values.values()))


def settings_of(cells: Sequence[Cell], compose: Compose) -> Iterator[dict[str, Any]]:
    """The resolved settings of each cell, as Hydra would compose them from its overrides."""
    parsed = functools.cache(OverridesParser.create().parse_override)
    composed = functools.cache(lambda words: resolved(compose(words)))
    known = groups()
    for cell in cells:
        overrides = [(word, parsed(word)) for word in cell]
        keys = sorted(f"{override.key_or_group}." for _, override in overrides if override.key_or_group not in known)
        base, interpolates = composed(tuple(word for word, override in overrides if not _is_plain(override, known)))
        if interpolates or any(inner.startswith(outer) for outer, inner in itertools.pairwise(keys)):
            yield composed(cell)[0]
            continue
        settings = dict(base)  # what a cell does not set, it shares
        for _, override in overrides:
            if _is_plain(override, known):
                *path, last = override.key_or_group.split(".")
                node = settings
                for part in path:
                    node[part] = node = dict(node.get(part) or {})
                node[last] = override.value()
        yield settings


def _is_plain(override: Override, groups: set[str]) -> bool:
    """Whether an override only sets one value."""
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package is not None:
        return False
    return override.key_or_group not in groups and _is_literal(override.value())


def _is_literal(value: Any) -> bool:  # noqa: ANN401 - what Hydra's grammar yields
    if isinstance(value, str):
        return "${" not in value and value != "???"
    if isinstance(value, list):
        return all(_is_literal(item) for item in value)
    return not isinstance(value, dict)
