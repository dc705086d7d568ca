"""The figures of every class, of many runs, small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.report.web.reading import Scored

_TOGETHER = 400_000  # figures on a page
_LONGEST = 80  # characters of a class's name


class Classes:
    """Takes runs in their order, the best first; those for which there is no more room have no figures."""

    def __init__(self) -> None:
        self.names: list[list[str]] = []  # lists of classes, each once
        self._places: dict[tuple[str, ...], int] = {}
        self._figures, self._left = 0, 0

    def of(self, scored: Mapping[str, Scored]) -> dict[str, dict[str, Any]]:
        """Of each evaluation of a run: what it measures, which list of classes, and points in that list's order."""
        found = {}
        for name, one in scored.items():
            if self._figures + len(one.points) > _TOGETHER:
                self._left += 1
                continue
            self._figures += len(one.points)
            labels = tuple(map(_short, one.points))
            if labels not in self._places:
                self._places[labels] = len(self.names)
                self.names.append(list(labels))
            points = [round(value, 2) for value in one.points.values()]
            found[name] = {"what": one.what, "names": self._places[labels], "points": points}
        return found

    def told(self) -> str:
        """What is not on the page."""
        if not self._left:
            return ""
        return f"The classes of {self._left} evaluations of later runs are left out, to keep this page small."


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
