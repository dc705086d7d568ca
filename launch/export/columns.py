"""Rows that differ in what they hold, as columns of one kind each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from launch.export.source import text

Kind = Literal["none", "truth", "whole", "number", "text"]


class Columns(dict[str, Kind]):
    """Names and kinds of the columns of a table, in the order in which they were met."""

    def meet(self, rows: Iterable[Mapping[str, Any]]) -> Columns:
        """Takes in what further rows hold."""
        for row in rows:
            for name, value in row.items():
                self[name] = _both(self.get(name, "none"), _kind(value))
        return self

    def cells(self, row: Mapping[str, Any]) -> list[Any]:
        """A row's values, each of its column's kind; None where it has none."""
        return [_as(kind, row.get(name)) for name, kind in self.items()]


def _kind(value: object) -> Kind:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole" if -(2**63) <= value < 2**63 else "text"
    return "number" if isinstance(value, float) else "text"


def _both(one: Kind, other: Kind) -> Kind:
    kinds = {one, other} - {"none"}
    if len(kinds) < 2:
        return kinds.pop() if kinds else "none"
    return "number" if kinds == {"whole", "number"} else "text"


def _as(kind: Kind, value: Any) -> Any:  # noqa: ANN401 - any value
    if value is None or (kind == "text" and isinstance(value, str)):
        return value
    return float(value) if kind == "number" else text(value) if kind == "text" else value
