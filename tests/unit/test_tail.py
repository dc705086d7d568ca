"""Logs as `launch watch` shows them: safe, and never too much."""

from __future__ import annotations

import os
import re
from pathlib import Path

from launch.monitor.tail import BEHIND, FIRST, LONGEST, Tail


def lines(path: Path) -> list[str]:
    with Tail(path) as tail:
        return [line for _ in range(3) for line in tail.read()]


def test_lines_are_safe_to_show(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes("\x1b]0;owned\x07 \u202eRTL\n10 %\r50 %\r100 %\r\n<script>\tx\n\xff\n".encode("latin-1", "replace"))
    found = lines(log)
    assert found[0].startswith("\\x1b]0;owned\\x07") and found[1:] == ["100 %", "<script>\tx", "�"]
    log.write_bytes("\u202eabc\n".encode())
    assert lines(log) == ["\\u202eabc"]


def test_a_line_that_never_ends_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"a" * 60_000 + b"\nnext\n" + b"b" * 2_000 + b"\nlast words")
    found = lines(log)
    assert found[0] == "a" * LONGEST + " … (cut here)" and found[1:] == ["next", "b" * 2_000, "last words"]
    with Tail(log) as tail, log.open("ab") as file:
        seen = []
        for _ in range(5):
            file.write(b"c" * 50_000)
            file.flush()
            seen += tail.read()
        file.write(b"\nnext\n")
        file.flush()
        seen += [line for _ in range(4) for line in tail.read()]
    assert sum(map(len, seen)) < 4 * LONGEST + 3_000 and seen[-1] == "next"


def test_of_a_huge_log_the_end_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(50 * 1024**3)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    found = lines(log)
    assert re.match(r"--- 53,687,0\d\d,\d\d\d bytes are left out here", found[0]) and found[-1] == "last"
    assert sum(map(len, found)) < 2 * FIRST


def test_who_is_far_behind_leaves_some_out_and_a_file_may_begin_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n")
    with Tail(log) as tail:
        assert tail.read() == ["first"]
        with log.open("ab") as file:
            file.write(b"line\n" * (BEHIND // 5 + 1) + b"last\n")
        assert "left out" in (found := tail.read())[0] and found[-1] == "last" and len(found) < FIRST
        log.write_bytes(b"new\n")
        assert tail.read() == ["--- the file begins anew ---", "new"]
