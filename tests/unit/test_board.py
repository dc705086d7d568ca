"""The board of `launch watch`, driven by keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golang.config import Config
from golang.errors import GolangError
from golang.runfolder.files import yaml_text
from golang.runfolder.folder import RunFolder
from launch.monitor.status import Standing

pytest.importorskip("textual")

from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog, Static

from launch.monitor import board as boards
from launch.monitor.board import Board, Detail


def standing(name: str, state: str, **facts: Any) -> Standing:
    one = Standing(
        sweep="mine", run=f"{name}-0bcdef01", state=state, step=10, total=100, loss=2.5, mAP={}, attempts=1, last="",
        node="", job="", updated="",
    )  # fmt: skip
    return replace(one, **facts)


RUNS = [
    standing("lr=1", "finished", mAP={"linear": 30.0}, loss=1.0),
    standing("lr=2", "failed", last="\x1b[2Jno room", loss=None),
    standing("lr=3", "running", node="n7", step=50),
    standing("lr=4", "finished", mAP={"linear": 40.0}, loss=1.5),
]


class Played:
    """A board of the runs that a test sets."""

    def __init__(self, folder: Path = Path(), runs: Sequence[Standing] = RUNS, every: float = 1000) -> None:
        self.trouble = ""
        self.board = Board(self.look, every, lambda line: folder, (list(runs), ""))

    def look(self) -> tuple[list[Standing], str]:
        if self.trouble:
            raise GolangError(self.trouble)
        return [*RUNS, standing("lr=5", "running")], ""

    async def hear(self, pilot: Pilot[Any], runs: Sequence[Standing]) -> None:
        """What a look has found."""
        self.board.post_message(Board.Looked((list(runs), "")))
        await pilot.pause()

    def play(self, keys: Callable[[Pilot[Any]], Awaitable[None]], size: tuple[int, int] = (100, 24)) -> object:
        async def played() -> None:
            async with self.board.run_test(size=size) as pilot:
                await pilot.pause()
                await keys(pilot)

        with ThreadPoolExecutor(1) as other:  # this thread may have a loop already: of the browser's tests
            other.submit(lambda: asyncio.run(played())).result()
        return self.board.return_value

    def rows(self) -> list[str]:
        table = self.board.query_one(DataTable)
        return [str(table.get_row_at(row)[0])[3] for row in range(table.row_count)]

    def text(self, name: str) -> str:
        return str(self.board.screen.query_one(name, Static).render())


def test_what_one_looks_at_first_comes_first_and_the_rest_by_keys() -> None:
    played = Played()

    async def keys(pilot: Pilot[Any]) -> None:
        assert played.rows() == ["3", "2", "1", "4"]
        assert "mine: 2 finished, 1 failed, 1 running" in played.text("#counts")
        orders = {}
        for _ in range(6):
            await pilot.press("s")
            orders[played.text("#counts").rpartition("sorted by ")[2].partition(";")[0]] = "".join(played.rows())
        assert orders == {
            "step": "3124",
            "loss": "1432",
            "mAP": "4123",
            "attempts": "1234",
            "updated": "1234",
            "name": "1234",
        }
        await pilot.click(DataTable, offset=(20, 0))
        assert "sorted by state" in played.text("#counts"), "a click on the column's head"
        await pilot.press("q")

    assert played.play(keys) is None


def test_a_filter_is_typed_and_taken_back() -> None:
    played = Played()

    async def keys(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *"finished")
        assert played.rows() == ["1", "4"] and "2 of 4 runs" in played.text("#counts")
        await pilot.press("enter", "s", "s", "s")
        assert played.rows() == ["4", "1"], "keys are the table's again"
        await pilot.press("escape")
        assert len(played.rows()) == 4
        await pilot.press("ctrl+c")

    assert played.play(keys) is None


def test_new_looks_leave_the_cursor_and_the_place_and_no_run_under_way_ends_it() -> None:
    runs = [standing(f"lr={i:03d}", "running") for i in range(200)]
    played = Played(runs=runs)

    async def keys(pilot: Pilot[Any]) -> None:
        table = played.board.query_one(DataTable)
        table.move_cursor(row=197, animate=False)
        await pilot.pause()
        table.move_cursor(row=190, animate=False)
        await pilot.pause()
        place = table.scroll_offset
        assert place.y > 100
        await played.hear(pilot, [standing("lr=new", "running"), *runs])
        assert table.row_count == 201 and table.cursor_row == 191 and table.scroll_offset == place
        await played.hear(pilot, [replace(line, state="finished") for line in runs])

    assert played.play(keys) is True


def test_it_looks_by_itself_and_says_what_cannot_be_looked_at() -> None:
    played = Played(every=0.05)

    async def keys(pilot: Pilot[Any]) -> None:
        while len(played.rows()) < 5:
            await pilot.pause(0.05)
        played.trouble = "no \x1b folder"
        while not played.text("#trouble"):
            await pilot.pause(0.05)
        assert len(played.rows()) == 5 and played.text("#trouble") == "no \\x1b folder"
        table = played.board.query_one(DataTable)
        assert not any("\x1b" in str(cell) for row in range(5) for cell in table.get_row_at(row))
        await pilot.press("q")

    played.play(keys)


def test_a_run_is_looked_into_and_its_log_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "_PAUSE", 0.02)
    run = RunFolder.create(tmp_path / "lr=3-0bcdef01", Config())
    run.overrides_file.write_text(yaml_text({"overrides": ["optim.base_lr=3", "name=a b"]}))
    first = run.start_attempt(1, {}, None)
    first.write_cause("error", 7, message="no room\x1b[2J")
    log = run.start_attempt(1, {}, None).log_file(0)
    log.write_text("begun\x1b[2J\n")
    played = Played(tmp_path / "lr=3-0bcdef01")

    async def keys(pilot: Pilot[Any]) -> None:
        def said() -> str:
            return "\n".join(strip.text for strip in played.board.screen.query_one(RichLog).lines)

        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(played.board.screen, Detail)
        text = played.text("Static")
        assert "lr=3-0bcdef01" in text and "optim.base_lr=3 'name=a b'" in text and str(run.path) in text
        assert "to step 7: error · no room\\x1b[2J" in text and "\x1b" not in text
        assert "rank 0, attempt 01" in said() and "begun\\x1b[2J" in said()
        with log.open("a") as file:
            file.write("and on\n")
        run.start_attempt(1, {}, None).log_file(0).write_text("again\n")
        while "again" not in said():
            await pilot.pause(0.05)
        assert "attempt 02" in said()
        await played.hear(pilot, [replace(line, state="finished") for line in RUNS])
        assert isinstance(played.board.screen, Detail), "what a person reads is not taken away"
        await pilot.press("s", "slash")
        assert "sorted by state" in str(played.board.query_one("#counts", Static).render()), "the board's keys rest"
        await pilot.press("escape")
        await pilot.pause()

    assert played.play(keys) is True
