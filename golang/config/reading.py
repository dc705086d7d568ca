"""Settings from plain data, for the trainer's classes and the launcher's: every mistake is a ConfigError that names the
key, the value and what to do. A setting's range stands beside its type, as in `Annotated[int, POSITIVE]`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from golang.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Which values a setting may have, and that in words."""

    holds: Callable[[Any], object]  # true of them
    must: str


_types: Callable[..., dict[str, Any]] = functools.cache(typing.get_type_hints)  # a grid reads thousands of cells
POSITIVE = Range(lambda value: value > 0, "be greater than 0")
NATURAL = Range(lambda value: value >= 0, "not be negative")
AT_LEAST_1 = Range(lambda value: value >= 1, "be at least 1")
SHARE = Range(lambda value: 0 <= value <= 1, "be from 0 to 1")
PART = Range(lambda pair: 0 < pair[0] <= pair[1] <= 1, "be a range within 0 to 1, low end first")
PIXELS = Range(lambda pair: 0 <= pair[0] <= pair[1], "be a range of pixels, low end first")


def build(cls: type[Any], values: Any, loose: bool = False) -> Any:  # noqa: ANN401 - any class of settings
    """An object of a settings class from plain data; `loose` takes numbers, switches and lists where text is wanted.
    Raises ConfigError for an unknown key or a wrong type; ranges are `check_ranges`' to look at."""
    return _Reader(cls, loose).group(cls, values, "")


def check_ranges(settings: Any, path: str = "") -> None:  # noqa: ANN401 - any object of a settings class
    """Raises ConfigError for the first setting outside of its range; None is in every range."""
    for name, kind in _types(type(settings), include_extras=True).items():
        value, key = getattr(settings, name), f"{path}{name}"
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{key}.")
        for range in getattr(kind, "__metadata__", ()):
            if value is not None and not range.holds(value):
                raise ConfigError(f"{key}={list(value) if isinstance(value, tuple) else value} must {range.must}")


def keys(cls: type[Any], prefix: str = "") -> list[str]:
    """Every dotted key of a settings class, sections included."""
    found = []
    for name, kind in _types(cls).items():
        found.append(prefix + name)
        if dataclasses.is_dataclass(kind):
            found += keys(typing.cast("type[Any]", kind), f"{prefix}{name}.")
    return found


def nearest(key: str, known: list[str]) -> str:
    """`known`'s member most like `key`, as the tail of an error message ('' if nothing is close)."""
    last = {k.rsplit(".", 1)[-1]: k for k in known}
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    close = close or [last[k] for k in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(last), n=1, cutoff=0.6)]
    return f" — did you mean {close[0]}?" if close else ""


def refuse_secret(name: str) -> None:
    """Raises ConfigError, without the value, for the name of a key or token: settings are written to files."""
    found = re.search(r"(api|access|secret|private)_?key|passw|secret|credential|token(?!iz)", name, re.IGNORECASE)
    if found and not re.search(r"(file|path|dir)$", name, re.IGNORECASE):
        raise ConfigError(
            f"{name} looks like a secret, and settings are written to files: give it by `wandb login`, ~/.netrc or "
            "the environment (a job has that of the shell that submits it), and type the command without it"
        )


class _Reader:
    def __init__(self, cls: type[Any], loose: bool) -> None:
        self.cls, self.loose = cls, loose

    def group(self, cls: type[Any], values: Any, path: str) -> Any:  # noqa: ANN401 - any class of settings
        if not isinstance(values, Mapping):
            raise ConfigError(f"{path or 'the configuration'} must be a group of settings, got {values!r}")
        hints = _types(cls)
        dotted = {key: f"{path}.{key}" if path else str(key) for key in values}
        for key, value in values.items():
            if key not in hints:
                refuse_secret(dotted[key])
                raise ConfigError(f"unknown setting {dotted[key]}={value!r}{nearest(dotted[key], keys(self.cls))}")
        return cls(**{key: self.value(hints[key], value, dotted[key]) for key, value in values.items()})

    def value(self, kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401 - any type a setting has
        if dataclasses.is_dataclass(kind):
            return self.group(typing.cast("type[Any]", kind), value, path)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is Literal:
            if value not in arguments:
                raise ConfigError(f"{path}={value!r} is not one of {', '.join(map(str, arguments))}")
            return value
        if origin in (types.UnionType, typing.Union):
            return None if value is None else self.value(arguments[0], value, path)
        if origin is tuple:
            return self.several(arguments, value, path)
        if origin is dict:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{path}={value!r} must be a group of names and values")
            return {str(key): self.value(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is str and self.loose and isinstance(value, (bool, int, float, list, tuple)):
            return _text(value)
        if type(value) is not kind:
            raise ConfigError(f"{path}={value!r} must be {_NAMES[kind]}, got {type(value).__name__}")
        return value

    def several(self, kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:  # noqa: ANN401
        if kinds[-1] is Ellipsis:
            items = [] if value == "none" else [value] if isinstance(value, str) else value
            if not isinstance(items, (list, tuple)):
                raise ConfigError(f"{path}={value!r} must be a list, as in {path}=[a,b]")
            return tuple(self.value(kinds[0], item, path) for item in items)
        if not isinstance(value, (list, tuple)) or len(value) != len(kinds):
            raise ConfigError(f"{path}={value!r} must be a list of {len(kinds)} numbers")
        return tuple(self.value(kind, item, path) for kind, item in zip(kinds, value, strict=True))


def _text(value: bool | int | float | list[Any] | tuple[Any, ...]) -> str:
    """Slurm takes 4 where Hydra sees a number; node lists may be written as lists."""
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


_NAMES: dict[type[Any], str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
