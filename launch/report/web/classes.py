"""The average precision of every class, of many runs, small."""

from __future__ import annotations

from typing import Any

from golang.runfolder.files import as_number
from golang.runfolder.folder import RunFolder
from golang.runfolder.results import results

_TOGETHER = 400_000  # figures on a page
_LONGEST = 80  # characters of a class's name


class Classes:
    """Takes runs in their order, the best first; those for which there is no more room have no figures."""

    def __init__(self, runs: int) -> None:
        self.names: list[list[str]] = []  # lists of classes, each once
        self._places: dict[tuple[str, ...], int] = {}
        self._figures, self._left, self._runs = 0, 0, runs

    def of(self, folder: RunFolder) -> dict[str, dict[str, Any]]:
        """Of each evaluation of a run with classes: what it measures, which list of classes, and points in its order."""
        found = {}
        for name, facts in results(folder).items():
            points = facts.get("per_class")
            if not isinstance(points, dict) or not points:
                continue
            if self._figures + len(points) > _TOGETHER:
                self._left += 1
                continue
            self._figures += len(points)
            labels = tuple(_short(str(label)) for label in points)
            if labels not in self._places:
                self._places[labels] = len(self.names)
                self.names.append(list(labels))
            values = [None if (value := as_number(one)) is None else round(value, 2) for one in points.values()]
            found[name] = {"what": str(facts.get("measure", "AP")), "names": self._places[labels], "points": values}
        return found

    def told(self) -> str:
        """What is not on the page."""
        if not self._left:
            return ""
        return f"The classes of {self._left} evaluations of later runs are left out, to keep this page small."


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
