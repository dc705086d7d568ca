"""The board of `launch watch` on a terminal: runs to sort, to filter and to look into."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, RichLog, Static

from golang.errors import GolangError
from golang.runfolder.files import read_json
from golang.runfolder.folder import Attempt, RunFolder
from launch.monitor.logs import log_file
from launch.monitor.order import KEYS, UNDER_WAY, by, matching
from launch.monitor.status import Standing
from launch.monitor.table import COLOURS, by_sweep, counted, points, short_names, steps
from launch.monitor.tail import Tail
from launch.sweep.find import NotFoundError, Run
from launch.text import plain, shown

_Looked = tuple[list[Standing], str]
# Of each column, how runs are sorted by it.
_COLUMNS = {
    "run": "name", "state": "state", "step": "step", "loss": "loss", "mAP": "mAP", "att.": "attempts", "node": "state",
    "last event": "updated",
}  # fmt: skip
_PAUSE = 0.5  # seconds between looks at a log


class Board(App[bool]):
    """Ends with True once no run is under way and the board is looked at, with None when a person leaves."""

    TITLE = "golang launch watch"
    CSS = "#counts, #trouble { height: auto; } #words { display: none; } #words.open { display: block; }"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "all", "all runs", show=False),
        Binding("q,ctrl+c", "leave", "leave"),
    ]

    class Looked(Message):
        """How runs stand now."""

        def __init__(self, found: _Looked) -> None:
            super().__init__()
            self.found = found

    def __init__(
        self, look: Callable[[], _Looked], every: float, where: Callable[[Standing], Path], first: _Looked
    ) -> None:
        super().__init__()
        self._look, self._every, self._where = look, every, where
        self._lines, self._trouble = first
        self._sorted, self._words = "state", ""
        self._shown: list[Standing] = []
        self._left = threading.Event()

    def compose(self) -> ComposeResult:
        yield Static(id="counts")
        yield Static(id="trouble")
        yield Input(placeholder="words of a run's name, state, node, job or last event", id="words")
        yield DataTable(cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        self.theme = "ansi-dark"
        for name in _COLUMNS:
            self._table.add_column(name, key=name)
        self._draw()
        self._table.focus()
        # Slurm may take its time, and must not keep a person who leaves: a worker of Textual's would.
        threading.Thread(target=self._look_on, daemon=True).start()

    def on_unmount(self) -> None:
        self._left.set()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    def _look_on(self) -> None:
        while not self._left.wait(self._every):
            try:
                found = self._look()
            except (GolangError, OSError) as error:  # the folder is away: for a moment, or for good
                found = self._lines, str(error)
            self.post_message(self.Looked(found))

    @on(Looked)
    def _take(self, message: Looked) -> None:
        changed = (self._lines, self._trouble) != message.found
        self._lines, self._trouble = message.found
        if changed and self.query(DataTable):  # as long as it is not being left
            self._draw()
            self._end()

    def _end(self) -> None:
        if len(self.screen_stack) == 1 and not any(line.state in UNDER_WAY for line in self._lines):
            self.exit(True)

    def _draw(self) -> None:
        """The rows anew; the run at the cursor and the place on the screen stay."""
        table, names = self._table, short_names(self._lines)
        there = self._at_cursor()
        self._shown = by(matching(self._lines, self._words), self._sorted)
        left = table.scroll_offset
        table.clear()
        for line in self._shown:
            said = (
                steps(line), "–" if line.loss is None else f"{line.loss:.3f}", ", ".join(points(line)) or "–",
                str(line.attempts), line.node, line.last[:200],
            )  # fmt: skip
            name, state = plain(names[line.sweep, line.run]), Text(plain(line.state), COLOURS.get(line.state, ""))
            table.add_row(Text(name), state, *(Text(plain(word)) for word in said))
        if there is not None:
            same = [(line.sweep, line.run) for line in self._shown]
            table.move_cursor(row=same.index(there) if there in same else 0, animate=False, scroll=False)
            table.scroll_to(left.x, left.y, animate=False)
        counts = Text("\n").join(counted(sweep, own) for sweep, own in list(by_sweep(self._lines).items())[:5])
        part = f"{len(self._shown)} of {len(self._lines)} runs, sorted by {self._sorted}; Enter looks into one"
        self.query_one("#counts", Static).update(Text("\n").join([counts, Text(part, "dim")]))
        trouble = self.query_one("#trouble", Static)
        trouble.display = bool(self._trouble)
        trouble.update(Text(plain(self._trouble), "yellow"))

    def _at_cursor(self) -> tuple[str, str] | None:
        row = self._table.cursor_row
        return (self._shown[row].sweep, self._shown[row].run) if 0 <= row < len(self._shown) else None

    @on(DataTable.HeaderSelected)
    def _by_column(self, message: DataTable.HeaderSelected) -> None:
        self._sorted = _COLUMNS[str(message.column_key.value)]
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Whether a key counts: of the board's own, none while a run is looked into."""
        return action not in ("sort", "filter", "all") or len(self.screen_stack) == 1

    def action_sort(self) -> None:
        """By the next key."""
        self._sorted = KEYS[(KEYS.index(self._sorted) + 1) % len(KEYS)]
        self._draw()

    def action_filter(self) -> None:
        self.query_one(Input).add_class("open").focus()

    @on(Input.Changed)
    def _narrow(self, message: Input.Changed) -> None:
        self._words = message.value
        self._draw()

    @on(Input.Submitted)
    def _narrowed(self) -> None:
        self._table.focus()

    def action_all(self) -> None:
        """No filter."""
        self.query_one(Input).remove_class("open").value = ""
        self._table.focus()

    @on(DataTable.RowSelected)
    def _detail(self, message: DataTable.RowSelected) -> None:
        line = self._shown[message.cursor_row]
        self.push_screen(Detail(line, self._where(line)), lambda _: self._end())

    def action_leave(self) -> None:
        self.exit(None)


class Detail(Screen[None]):
    """One run: what is known of it, and its newest log as it grows."""

    CSS = "VerticalScroll { height: auto; max-height: 60%; } RichLog { border-top: solid; height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", "back to the board")]

    def __init__(self, line: Standing, path: Path) -> None:
        super().__init__()
        self._line, self._path = line, path
        self._log: tuple[Path, Tail] | None = None

    def compose(self) -> ComposeResult:
        yield VerticalScroll(Static(Text("\n").join(facts(self._line, self._path))))
        yield RichLog(wrap=True, max_lines=2000)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(RichLog).focus()
        self._follow()
        self.set_interval(_PAUSE, self._follow)

    def on_unmount(self) -> None:
        if self._log is not None:
            self._log[1].__exit__()

    def _follow(self) -> None:
        """What the newest attempt's rank 0 has said since."""
        panel = self.query_one(RichLog)
        with contextlib.suppress(NotFoundError, OSError):
            path = log_file(Run(self._path), 0, None)
            if self._log is None or self._log[0] != path:
                if self._log is not None:
                    self._log[1].__exit__()
                self._log = path, Tail(path)
                panel.write(Text(f"--- rank 0, attempt {path.parent.name} ---", "dim"))
        if self._log is not None:
            for line in self._log[1].read():
                panel.write(Text(line))


def facts(line: Standing, path: Path) -> Iterator[Text]:
    """What is known of a run: how it stands, what was asked for, its attempts, where its files are."""
    folder = RunFolder(path)
    words = read_json(folder.overrides_file).get("overrides")
    asked = shown([str(word) for word in words]) if isinstance(words, list) else ""
    rows = {
        "state": line.state, "last event": line.last, "steps": steps(line), "mAP": ", ".join(points(line)),
        "node": line.node, "job": line.job, "asked for": asked, "folder": str(path),
    }  # fmt: skip
    yield Text(plain(line.run), "bold")
    for name, value in rows.items():
        if value:
            yield Text.assemble((f"{name:>10}  ", "dim"), plain(value))
    for number in folder.attempt_numbers()[-20:]:
        attempt = Attempt(folder, number)
        start, status, cause = attempt.start(), attempt.status(), attempt.cause()
        ended = " · ".join(str(cause[key]) for key in ("cause", "message") if cause.get(key)) or "no end was noted"
        reached = cause.get("step") or status.get("step") or 0
        said = f"{start.get('started', '?')} on {start.get('host', '?')}, to step {reached}: {ended[:400]}"
        yield Text.assemble((f"{'attempt ' + str(number):>10}  ", "dim"), plain(said))
