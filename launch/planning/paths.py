"""Paths as they are typed, in Hydra's grammar: a path may have any character in it."""

from __future__ import annotations

import contextlib
import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from golang.config.paths import expanded

RUNS = frozenset(("checkpoint", "evaluation.checkpoint", "model.init"))  # which may be the name of a run, too
MADE = frozenset(("checkpoint.folder", "data.stage", "run_dir", "runs_dir"))  # which need not be there yet
KEYS = RUNS | MADE | {
    "data.root", "data.train.annotations", "data.train.images", "data.val.annotations", "data.val.images",
    "evaluation.root",
}  # fmt: skip
_GRID = re.compile(r"(choice|glob|range|shuffle|sort)\((.*)\)", re.DOTALL)
_ITEM = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,]+""")


def value(key: str, text: str) -> str:
    """What is typed for one of KEYS. What is there under that name is that file or folder; else [a,b] is a list, and
    choice(a,b) a grid, of such; and a,b is a grid where each is there, or may be a run. Anything else is one path.
    Quotes and backslashes count as Hydra has them."""
    if text in ("", "null") or _is_quoted(text):
        return text
    if _is_there(text):
        return name(text)
    if grid := _GRID.fullmatch(text):
        return f"choice({_each(grid[2])})" if grid[1] == "choice" else text
    if key in MADE:
        return name(text)
    if text[0] == "[" and text[-1] == "]":
        return f"[{_each(text[1:-1])}]"
    # A run's folder is named by its settings, with = and commas.
    if "," in text and (all(map(_is_there, _items(text))) or (key in RUNS and "=" not in text)):
        return _each(text)
    return name(text)


def name(text: str) -> str:
    """One text, quoted where Hydra would read anything else."""
    read = _read(text)
    if read == text or _is_quoted(text) or ("\\" in text and isinstance(read, str)):
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _each(text: str) -> str:
    return ",".join(map(name, _items(text)))


def _items(text: str) -> list[str]:
    """The items between commas; a comma in quotes, or in the name of something that is there, ends none."""
    found: list[str] = []
    parts = _ITEM.findall(text)
    while parts:
        whole = next((n for n in range(len(parts), 1, -1) if _is_there(",".join(parts[:n]).strip())), 1)
        found.append(",".join(parts[:whole]).strip())
        del parts[:whole]
    return found


def _read(text: str) -> object:
    """What Hydra reads; None also where it reads nothing."""
    with contextlib.suppress(HydraException):
        return OverridesParser.create().parse_override(f"text={text}").value()
    return None


def _is_quoted(text: str) -> bool:
    """Whether Hydra reads it as one quoted text."""
    return text[:1] in ("'", '"') and isinstance(_read(text), str)


def _is_there(text: str) -> bool:
    try:
        return expanded(text).exists()
    except (OSError, ValueError):  # too long a name, or none
        return False
