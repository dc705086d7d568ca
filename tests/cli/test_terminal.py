"""What people see: a live bar on a terminal, plain timed lines elsewhere, colours where they are wanted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from launch.monitor.status import Standing
from launch.monitor.watch import watch

ROOT = Path(__file__).parents[2]
PROGRESS = """
import logging
from golang import logs
from golang.training.progress import Progress
logs.set_up(0)
with Progress(100, True) as progress:
    for step in (50, 100):
        progress.step(step)
        progress.say({"step": step, "epoch": 1, "loss": 2.5, "images_per_second": 80.0}, 30.0)
    logging.getLogger("golang").info("a word in between")
"""
COLOUR = re.compile(r"\x1b\[(?:\d+;)*3[0-8][;m]")


def on_terminal(arguments: list[str], columns: int = 80, key: tuple[str, str] = ("", ""), **environment: str) -> str:
    """What a program writes on a terminal of that width, on which somebody who sees a word types a key."""
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    variables |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PATH": "/nowhere", **environment}
    process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
    os.close(theirs)
    written, (word, typed) = b"", key
    with contextlib.suppress(OSError):  # the last writer has left
        while data := os.read(own, 65536):
            written += data
            if typed and word in written.decode(errors="replace"):
                typed = os.write(own, typed.encode()) and ""
    os.close(own)
    assert process.wait(90) == 0, written.decode()
    return written.decode()


def test_progress_on_a_terminal() -> None:
    shown = on_terminal([sys.executable, "-c", PROGRESS])
    assert COLOUR.search(shown) and "100/100" in shown and "80 images/s" in shown
    assert re.search(r"\r\x1b\[2K\d\d:\d\d:\d\d a word in between\r\n", shown), "above the bar, on a line of its own"
    plain = on_terminal([sys.executable, "-c", PROGRESS], NO_COLOR="1")
    assert not COLOUR.search(plain) and "100/100" in plain


def test_progress_in_a_file() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRESS], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines) and "\x1b" not in done.stdout
    assert lines[0].endswith("step 50/100 · epoch 1 · loss 2.500 · 80 images/s · 30 s left")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Nine runs with long names, one of which is stopped."""
    for number in range(9):
        name = f"epochs={100 + number},start_epoch=15,group_heads=8,base_lr=0.{number}-{number}bcdef01"
        run = RunFolder.create(tmp_path / "runs/mine" / name, Config())
        state = "stopped" if number == 4 else "finished"
        run.start_attempt(1, {}, None).write_status(state, 258400, 258400, host="node-0017.cluster", loss=7.123)
        if state == "finished":
            run.done_file.touch()
    return tmp_path


WATCH = (
    "import os, sys; os.chdir(sys.argv[1]); from launch.__main__ import main; code = main(['watch', 'mine']); "
    "assert 'torch' not in sys.modules; sys.exit(code)"
)


def test_watch_at_80_columns(sweep: Path) -> None:
    """Until nothing is under way, which is at once; every run on a line or two, nothing cut off."""
    typed = [sys.executable, "-c", WATCH, str(sweep)]
    shown = on_terminal(typed)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "").splitlines()]
    assert max(len(line) for line in lines) <= 80 and len(lines) <= 23
    assert lines[0] == "mine: 8 finished, 1 stopped"
    first, *others = [line for line in lines if "258400/258400  7.123" in line]
    found = [line for line in [first, *others] if line.startswith("epochs=104,base_lr=0.4 4bcdef01  ")]
    assert len(others) == 8 and "stopped" in found[0] and "needs resubmission" in lines[lines.index(found[0]) + 1]
    assert COLOUR.search(shown) and not COLOUR.search(on_terminal(typed, NO_COLOR="1"))


def test_the_board_on_a_terminal_is_left_by_a_key(sweep: Path) -> None:
    run = RunFolder(next((sweep / "runs/mine").glob("epochs=104*")))
    with run.hold():
        shown = on_terminal([sys.executable, "-c", WATCH, str(sweep)], key=("sorted by state", "q"))
    assert "1 running" in shown and "\x1b[?1049l" in shown, "the screen of before is back"


def test_watch_elsewhere_prints_changes(capsys: pytest.CaptureFixture[str]) -> None:
    states = ["waiting", "running", "running", "finished"]

    def look() -> tuple[list[Standing], str]:
        return [standing("one", states.pop(0))], ""

    watch(look, 0.01, lambda line: Path(line.run))
    shown = capsys.readouterr().out
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", shown, re.MULTILINE)) == 3, "what stays is not repeated"
    assert "\x1b" not in shown and shown.index("waiting") < shown.index("running") < shown.rindex("finished")


def standing(name: str, state: str) -> Standing:
    return Standing(
        sweep="mine", run=f"{name}-0bcdef01", state=state, step=10, total=100, loss=2.5, mAP={}, attempts=1, last="",
        node="n1", job="", updated="",
    )  # fmt: skip
