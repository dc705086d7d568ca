"""What the doctor finds, and how it is shown: a line each, with the remedy."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from launch.text import plain

Grade = Literal["ok", "warn", "fail"]
STYLES: dict[Grade, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Grade
    what: str
    said: str
    remedy: str = ""  # what to do; empty where all is well


def check(well: bool, what: str, said: str, otherwise: str, remedy: str, level: Grade = "warn") -> Finding:
    """`said` where all is well; else `otherwise`, and what to do."""
    return Finding("ok", what, said) if well else Finding(level, what, otherwise, remedy)


def show(findings: Sequence[Finding], as_json: bool) -> int:
    """Prints findings: a table on a terminal, plain lines elsewhere; 1 if one of them is a failure."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    elif sys.stdout.isatty():
        _table(findings)
    else:
        for finding in findings:
            remedy = f" → {finding.remedy}" if finding.remedy else ""
            print(plain(f"{finding.level:4}  {finding.what}: {finding.said}{remedy}"))
    counts = Counter(finding.level for finding in findings)
    if not as_json:
        print(", ".join(f"{counts[level]} {level}" for level in STYLES if counts[level]))
    return int(counts["fail"] > 0)


def _table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        said = Text(plain(finding.said))
        if finding.remedy:
            said.append(f"\n→ {plain(finding.remedy)}", style="italic")
        table.add_row(Text(finding.level, style=STYLES[finding.level]), Text(plain(finding.what)), said)
    Console().print(table)
