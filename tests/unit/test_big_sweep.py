"""Of thousands of runs a terminal and a picture show what fits, and say what they leave out."""

from __future__ import annotations

import io
import json
import os
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.monitor.brief import fitting
from launch.monitor.order import by, matching
from launch.monitor.status import Standing
from launch.report.chart import MOST, draw
from launch.report.outcome import outcomes
from launch.sweep import ledger


def standing(number: int, state: str, **facts: Any) -> Standing:
    one = Standing(
        sweep="big", run=f"lr={number}-{number:08x}", state=state, step=number, total=100, loss=None, mAP={},
        attempts=1, last="", node="", job="", updated="",
    )  # fmt: skip
    return replace(one, **facts)


def mixed() -> list[Standing]:
    waiting = [standing(i, "waiting", last="Priority" if i % 4 else "Resources") for i in range(1000)]
    done = [
        standing(i, "finished", mAP={"linear": i / 100}, loss=1.0, updated=f"2026-11-30T10:{i % 60:02d}:00+0000")
        for i in range(1000, 1990)
    ]
    failed = [
        standing(i, "failed", last=f"CUDA out of memory: tried {i} MiB" + "x" * 10_000) for i in range(1990, 1997)
    ]
    stuck = [standing(1997, "stuck", last="JobHeldUser: held by its owner; scontrol release 77")]
    newest = [standing(1998, "running", loss=2.0, updated="2026-11-30T13:00:00+0200")]
    return [*waiting, *done, *failed, *stuck, *newest]


def printed(lines: list[Standing], width: int, height: int, trouble: str = "") -> str:
    from rich.console import Console

    console = Console(width=width, height=height, file=io.StringIO())
    console.print(fitting(console, lines, trouble, height))
    return str(console.file.getvalue())


@pytest.mark.parametrize("size", [(80, 23), (120, 50), (200, 90), (40, 12)])
def test_two_thousand_runs_fit_a_screen(size: tuple[int, int]) -> None:
    shown = printed(mixed(), *size, trouble="squeue failed: no cluster")
    assert len(shown.splitlines()) <= size[1]
    assert max(map(len, shown.splitlines())) <= size[0]
    whole = " ".join(shown.split())
    assert "big: 1000 waiting, 990 finished, 7 failed, 1 stuck, 1 running" in whole
    assert "1999 runs. --all lists them" in whole and "squeue failed: no cluster" in whole


def test_the_brief_says_what_needs_a_person_and_shows_the_newest_and_the_best() -> None:
    needs, others, newest, best = printed(mixed(), 110, 50).split("\n\n")[1:]
    assert re.search(r"7 +failed +lr=1990 \w+ and 6 more", needs) and "scontrol release 77" in needs
    assert re.search(r"750 +waiting +Priority", others) and re.search(r"250 +waiting +Resources", others)
    assert re.search(r"990 +finished", others)
    assert re.search(r"att\. .*\nlr=1998 ", newest), "13:00 in +0200 is 11:00, and the others are of 10:xx"
    assert best.startswith("The best by mAP (linear)") and re.search(r"att\. .*\nlr=1989 .*\nlr=1988 ", best)
    by_loss = printed([replace(line, mAP={}) for line in mixed()], 110, 50)
    assert "The best by loss" in by_loss and "x" * 300 not in re.sub(r"\s", "", by_loss), "a message of 10 kB is cut"


def test_a_sweep_that_fits_is_shown_whole() -> None:
    lines = [standing(i, "finished") for i in range(10)]
    assert len(printed(lines, 80, 12).splitlines()) == 12 and "lr=9 " in printed(lines, 80, 12)
    assert "--all lists them" in printed(lines, 80, 11)


def test_many_sweeps_are_counted_up_to_a_screen() -> None:
    lines = [standing(i, "waiting", sweep=f"sweep{i}") for i in range(300)]
    shown = printed(lines, 80, 23)
    assert len(shown.splitlines()) <= 23 and "… and 292 sweeps more" in shown and "300 runs." in shown


def test_order_and_filter() -> None:
    one, two, three = standing(1, "waiting"), standing(2, "failed", loss=2.0, mAP={"knn": 3.0}), standing(3, "running")
    lines = [one, replace(two, last="Disk Full"), replace(three, loss=1.0, mAP={"linear": 9.0, "knn": 5.0})]
    numbers = {key: [line.step for line in by(lines, key)] for key in ("name", "state", "step", "loss", "mAP")}
    assert numbers == {"name": [1, 2, 3], "state": [3, 2, 1], "step": [3, 2, 1], "loss": [3, 2, 1], "mAP": [3, 2, 1]}
    assert [line.step for line in matching(lines, "disk FAIL")] == [2] and matching(lines, "disk running") == []


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty runs that Slurm lets wait, and three that failed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "80")
    sweep, said = tmp_path / "runs/big", []
    for number in range(63):
        run = RunFolder(sweep / f"lr={number}-{number:08x}")
        run.make(Config())
        run.keep(Config(), durable=False)
        if number < 60:
            ledger.append(sweep, "submitted", run=f"{number:08x}", folder=run.path.name, job=f"77_{number}")
            said.append(f"77_{number}|{number}|PENDING||Priority|golang:x|/x")
        else:
            ledger.append(sweep, "failed", run=f"{number:08x}", folder=run.path.name, reason="no room")
    (tmp_path / "said").write_text("\n".join(said))
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    (tmp_path / "squeue").chmod(0o755)
    return sweep


def test_status_of_a_large_sweep(waiting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def status(*words: str) -> list[str]:
        assert main(["status", *words]) == 0
        return capsys.readouterr().out.splitlines()

    brief = status()
    assert len(brief) < 15 and brief[0] == "big: 60 waiting, 3 failed" and any("no room" in line for line in brief)
    assert len(status("--all")) == 2 + 2 * 63
    failed = status("--state", "failed")
    assert failed[0] == "big: 3 failed" and len(failed) == 2 + 2 * 3
    assert status("--sort", "state")[2].startswith("lr=60 ")
    assert len(json.loads("\n".join(status("--json")))) == 63
    assert len(json.loads("\n".join(status("--json", "--state", "failed", "--state", "waiting")))) == 63
    assert main(["status", "--state", "faled"]) == 2
    assert "no run is 'faled'; there are: 60 waiting, 3 failed" in capsys.readouterr().err


def test_the_picture_of_two_thousand_runs_is_a_page(tmp_path: Path) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    run = RunFolder.create(tmp_path / "s/x-0bcdef01", Config())
    for _ in range(2):
        run.start_attempt(2, {}, None).write_cause("killed", 5)
    (one,) = outcomes(tmp_path / "s")
    runs = [
        replace(one, path=one.path.with_name(f"x-{i:08x}"), settings={"lr": str(i)}, typed=("lr",), scores={"knn": -i})
        for i in range(2000)
    ]
    titles: list[str] = []
    save = figures.Figure.savefig

    def saved(self: Any, *given: Any, **options: Any) -> None:
        titles.extend(axes.get_title("left") for axes in self.subfigs[0].subfigs[0].axes)
        save(self, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures.Figure, "savefig", saved)
        data = draw(runs, tmp_path / "report.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert width < 1600 and height < 2600 and titles == [f"The best {MOST} of 2000 runs; all: report.md"]
