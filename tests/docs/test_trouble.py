"""docs/trouble.md quotes what the code says, and has each exit status and each cause."""

from __future__ import annotations

import ast
import re

import pytest

from golang import exits
from golang.runfolder.causes import Word
from golang.sources import ROOT

PAGE = (ROOT / "docs/trouble.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n([\s\S]*?)(?=^## |\Z)", PAGE, re.MULTILINE))
WAITING = {  # sections, and the code without which they can't be compared yet
    "Lists and annotations of one's own": "golang/data/readers/list.py",
    "Packs": "golang/data/packed",
}
QUOTED = [
    (section, message)
    for section, text in SECTIONS.items()
    if (ROOT / WAITING.get(section, "golang")).exists()
    for message in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
]


def said(node: ast.expr) -> str:
    """A text of the code, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return re.sub(r"%[-.\d]*[sdgf]", "…", str(node.value))
    return "".join(said(value) if isinstance(value, ast.Constant) else "…" for value in node.values)  # type: ignore[attr-defined]


def texts() -> list[str]:
    """All that the code may say, a text each, in one line."""
    found = []
    for path in (*(ROOT / "golang").rglob("*.py"), *(ROOT / "launch").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                found.append(" ".join(said(node).split()))
    return [*found, *((ROOT / "launch/node" / name).read_text() for name in ("job.sh", "again.sh"))]


SAID = texts()


def known(message: str) -> bool:
    """Whether one text of the code has all of a message, in its order."""
    pieces = [re.escape(piece.strip()) for piece in message.split("…") if piece.strip()]
    return any(re.search("[\\s\\S]*".join(pieces), text) for text in SAID)


@pytest.mark.parametrize(("section", "message"), QUOTED, ids=lambda value: value[:40])
def test_a_message_is_the_codes(section: str, message: str) -> None:
    assert max(len(piece.strip()) for piece in message.split("…")) >= 11, "nobody could tell it from others"
    assert known(message), "the code says nothing like it"


def test_a_message_that_is_not_the_codes_is_found_out() -> None:
    assert known("optim.batch_size=… does not divide by … ranks") and len(QUOTED) > 80
    assert not known("optim.batch_size=… does not divide by … nodes")


@pytest.mark.parametrize("section", SECTIONS)
def test_messages_are_in_order(section: str) -> None:
    """By their words; first those that begin with what is filled in."""
    messages = [message for name, message in QUOTED if name == section]
    keys = [(message[0] != "…", re.sub(r"[^a-z& ]", "", message.lower()).split()) for message in messages]
    assert keys == sorted(keys)


def test_every_exit_status_is_there() -> None:
    named = {name: str(value) for name, value in vars(exits).items() if isinstance(value, int)}
    rows = re.findall(r"^\| (\d+) \| (\w*) ?\|", SECTIONS["Exit statuses"], re.MULTILINE)
    assert {name: status for status, name in rows if name} == named
    assert [int(status) for status, _ in rows] == sorted(int(status) for status, _ in rows)


def test_every_cause_is_there() -> None:
    rows = re.findall(r"^\| (\w[\w -]*) \|", SECTIONS["Causes"], re.MULTILINE)
    assert rows == ["word", *(str(word) for word in Word)]


def test_every_reason_to_be_stuck_is_there() -> None:
    from launch import reasons

    whys = {reason.why for reason in reasons._TABLE.values() if reason.stuck}
    rows = [message for section, message in QUOTED if section == "Jobs that are stuck"]
    assert {why for why in whys if not any(why.startswith(row) for row in rows)} == set()
