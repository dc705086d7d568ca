"""`python -m launch watch SWEEP --web`: the sweep's page, live, until Ctrl-C."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Any

from launch.live.feed import Feed, stamps
from launch.live.server import HERE, Server
from launch.report.web.payload import payload
from launch.report.web.reading import Kept
from launch.report.web.render import Live, render
from launch.text import plain, shown


def serve(sweep: Path, port: int, every: float) -> None:
    """Says where the page is, and serves it until it is interrupted. Raises GolangError where the port can't be
    had or the page not be made."""
    kept: Kept = {}
    feed = Feed(lambda: payload(sweep, kept), lambda: stamps(sweep), every)
    with Server(sweep, port, feed, _page) as server:
        server.page()  # what it can't be made of is said here
        print(address(sweep.name, server), flush=True)
        try:
            server.serve_forever()
        finally:
            feed.closed.set()


def address(name: str, server: Server) -> str:
    """What to open, here or from another machine."""
    there = shown([f"{getpass.getuser()}@{socket.gethostname()}"])
    return (
        f"{plain(name)}, live, until Ctrl-C. Whoever has this address can read it:\n\n  {server.url}\n\n"
        f"From another machine, type there first:\n\n  ssh -L {server.port}:{HERE}:{server.port} {there}\n"
    )


def _page(payload: dict[str, Any], token: str) -> str:
    return render(payload, Live(token))
