"""What a sweep is: the command, the code, the recipe, the machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golang.config import Config
from golang.config.identity import flat
from golang.records.record import is_below
from golang.runfolder.files import read_json
from launch.report.web.reading import Reading
from launch.sweep.paths import Sweep
from launch.text import shown

_RECIPE = ("data.name", "method.name", "model.trunk", "optim.epochs", "optim.batch_size", "optim.base_lr", "precision")
_NOT_SAID = ("tracking", "notify")  # of others' accounts


class Table:
    """Rows that many runs share, each once."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def number(self, row: dict[str, str]) -> int:
        """The place of a row, added if it is new."""
        if row not in self.rows:
            self.rows.append(row)
        return self.rows.index(row)


def defaults() -> dict[str, str]:
    """Every setting's default, as text, as records have their settings."""
    values = flat(Config().to_dict())
    return {key: str(tuple(value) if isinstance(value, list) else value) for key, value in values.items()}


def described(path: Path) -> dict[str, Any]:
    """What was typed for it last; empty if nobody knows."""
    return read_json(Sweep(path).description)


def facts(
    path: Path, runs: Sequence[Reading], shared: dict[str, str], versions: Sequence[dict[str, str]]
) -> list[list[str]]:
    """Pairs of a heading and a text."""
    typed = described(path)
    words = typed.get("command")
    command = shown([_without_secrets(str(word)) for word in words]) if isinstance(words, list) else ""
    snapshots = Counter(run.code for run in runs if run.code)
    usual = defaults()
    recipe = [f"{key}={shared[key]}" for key in _RECIPE if key in shared]
    changed = [
        f"{key}={value}" for key, value in sorted(shared.items())
        if key not in _RECIPE and value != usual.get(key) and not is_below(key, _NOT_SAID)
    ]  # fmt: skip
    hosts = Counter(attempt.host for run in runs for attempt in run.outcome.attempts if attempt.host)
    ranks = sorted({attempt.ranks for run in runs for attempt in run.outcome.attempts})
    used = "; ".join(", ".join(f"{key} {value}" for key, value in row.items()) for row in versions if row)
    found = {
        "Command": command,
        "Typed": " in ".join(filter(None, [str(typed.get("typed", "")), str(typed.get("cwd", ""))])),
        "Code": ", ".join(f"{name} ({count} runs)" for name, count in snapshots.most_common(5)),
        "Recipe": ", ".join(recipe),
        "Also set for all runs": ", ".join(changed) or ("nothing" if shared else ""),
        "Machines": _listed([host for host, _ in hosts.most_common()]),
        "Ranks of an attempt": ", ".join(map(str, ranks)),
        "Versions": used,
        "Folder": str(path),
    }
    return [[name, text or "not known"] for name, text in found.items()]


def _without_secrets(word: str) -> str:
    """A line that tells of ends may hold an address that only its owner may post to."""
    key = word.lstrip("+~").partition("=")[0]
    return f"{key}=…" if is_below(key, ("notify",)) else word


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
