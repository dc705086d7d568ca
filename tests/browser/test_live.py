"""`launch watch --web` in a browser: the page hears what is new, and follows a log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golang.runfolder.folder import RunFolder
from launch.live.feed import Feed, stamps
from launch.live.server import Server
from launch.report.web.payload import payload
from launch.report.web.render import Live, render
from tests.browser.chromium import Tab
from tests.browser.sweeps import Shape, make


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    sweep = make(tmp_path / "grid", Shape(rates=(0.3, 0.6), prototypes=(300,), seeds=1, pictures=0))
    feed = Feed(lambda: payload(sweep), lambda: stamps(sweep), every=0.05)
    server = Server(sweep, 0, feed, lambda facts, token: render(facts, Live(token)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    feed.closed.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_page_goes_on(server: Server, chromium: Any) -> None:
    tab = Tab(chromium)
    tab.address = server.url
    tab.page.goto(server.url)
    tab.drawn()
    assert len(tab.column("state")) == 2
    run = RunFolder(next(path for path in server.sweep.iterdir() if (path / "DONE").exists()))
    attempt = run.start_attempt(1, {}, None)
    attempt.log_file(0).write_text("begun\n")
    run.done_file.unlink()
    tab.page.fill("#filter", run.path.name[-8:])
    tab.until("document.querySelectorAll('#runs tbody tr').length === 1")
    tab.until("!document.getElementById('runs').textContent.includes('finished')")
    assert tab.page.input_value("#filter") == run.path.name[-8:], "what was typed stays"
    tab.page.select_option("#which", index=0)
    log = f"[data-log='{attempt.number} 0']"
    if not tab.page.locator(log).count():
        tab.page.select_option("#which", index=1)
    tab.page.click(log)
    tab.until("document.querySelector('#follow pre')?.textContent === 'begun\\n'")
    with attempt.log_file(0).open("a") as file:
        file.write("<script>window.owned = 1</script>\x1b[2J\n")
    tab.until("document.querySelector('#follow pre').textContent.includes('owned = 1</script>\\\\x1b[2J')")
    assert tab.page.evaluate("window.owned") is None
    ours = f"asked for {server.url.partition('?')[0]}"
    assert [trouble for trouble in tab.trouble if not trouble.startswith(ours)] == []
    tab.close()
