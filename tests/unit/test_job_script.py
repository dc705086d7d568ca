"""The batch script names causes and exit statuses as the trainer does."""

from __future__ import annotations

import re
from pathlib import Path

from golang import exits
from golang.runfolder.causes import Word

SCRIPT = (Path(__file__).resolve().parents[2] / "launch/node/job.sh").read_text()
WORD = r'("[a-z][a-z |]*"|[a-z]+)'


def body(function: str) -> str:
    found = re.search(rf"^{function}\(\) {{.*?^}}", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found is not None, function
    return found[0]


def test_every_cause_is_one_of_the_words() -> None:
    """Those that it writes into cause.json, and those that it replaces there."""
    given = re.findall(rf"(?<![\w(])_(?:cause|name|kind) {WORD}(?: {WORD})?", SCRIPT)
    said = re.findall(rf"\becho {WORD}", body("_kind")) + re.findall(rf'_kind \w+\)" = {WORD}', SCRIPT)
    replaced = re.findall(r"\{2:-(\w+)\}|\|\$\{2:-(\w+)\}|\(([a-z]+)\|", body("_cause"))
    found = [*(word for pair in given for word in pair), *said, *(word for group in replaced for word in group)]
    words = {word for quoted in found for word in quoted.strip('"').split("|") if word}
    assert words == {
        "terminated", "time limit", "preempted", "cancelled", "killed", "hang", "node lost", "out of memory",
    }  # fmt: skip
    assert words <= set(Word)


def test_every_exit_status_is_in_the_table() -> None:
    compared = re.findall(r'_status" !?= (\d+)', SCRIPT) + re.findall(r"exit code (\d+)", SCRIPT)
    assert {int(status) for status in compared} == {0, exits.STOPPED, exits.HUNG}
    assert set(re.findall(r'\bexit (\d+|"\S+)', SCRIPT)) == {"0", '"$_status"'}
