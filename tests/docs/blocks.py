"""The blocks of a page in Markdown, fenced or indented: which are typed into a shell, which into Python, which are only
shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from golang.sources import ROOT

Kind = Literal["shell", "python", "shown", "unclear"]
# What begins a line that is typed.
PROGRAMS = {
    ".", "apptainer", "cat", "cd", "conda", "cp", "curl", "docker", "eval", "export", "git", "golang", "ls", "make",
    "mkdir", "nohup", "pip", "pytest", "python", "python3", "rsync", "sbatch", "scancel", "scontrol", "sinfo", "source",
    "squeue", "srun", "ssh", "tar", "torchrun", "unzip", "wandb",
}  # fmt: skip
_FENCE = re.compile(r"( *)(```+|~~~+) *(\S*)")
_ASSIGNED = re.compile(r"""(?:\w+=(?:"[^"]*"|'[^']*'|\S*) +)*(\S+)""")  # FOO=1 python …


@dataclass(frozen=True)
class Block:
    page: str  # relative to the repository's top folder
    line: int  # of its first line of content, from 1
    language: str  # as its fence says; "" where it has none
    text: str

    @property
    def kind(self) -> Kind:
        if self.language:
            return {"bash": "shell", "python": "python"}.get(self.language, "shown")  # type: ignore[return-value]
        first, *others = [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")] or [""]
        if re.match(r"(from|import) \w", first):
            return "python"
        if _typed(first):
            return "shell"
        return "unclear" if any(map(_typed, others)) else "shown"

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that a reader may open, those of the top folder first."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, from its first to its last."""
    lines, name = page.read_text().splitlines(), str(page.relative_to(ROOT))
    return [Block(name, number, language, text) for number, language, text in _found(lines)]


def outside(text: str) -> str:
    """A page without its blocks, line by line."""
    lines = text.splitlines()
    for number, _, block in list(_found(lines)):
        for index in range(number - 1, number - 1 + len(block.splitlines())):
            lines[index] = ""
    return "\n".join(lines)


def _found(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """(number of the first line of content, language, text) of each block."""
    index, listed = 0, False  # listed: within a list, whose items go on in indented lines
    while index < len(lines):
        line = lines[index]
        if fence := _FENCE.match(line):
            depth, mark, language = len(fence[1]), fence[2], fence[3]
            end = next(i for i in range(index + 1, len(lines)) if lines[i].strip() == mark)
            yield index + 2, language or "?", "\n".join(text[depth:] for text in lines[index + 1 : end]) + "\n"
            index = end + 1
            continue
        indented = line.startswith("    ") and not listed and (index == 0 or not lines[index - 1].strip())
        if indented:
            end = index
            while end < len(lines) and (not lines[end].strip() or lines[end].startswith("    ")):
                end += 1
            while not lines[end - 1].strip():
                end -= 1
            yield index + 1, "", "\n".join(text[4:] for text in lines[index:end]) + "\n"
            index = end
            continue
        if line.strip():
            listed = bool(re.match(r" *([-*+]|\d+\.) ", line)) or (listed and line.startswith(" "))
        index += 1


def _typed(line: str) -> bool:
    first = _ASSIGNED.match(line)
    return first is not None and first[1] in PROGRAMS
