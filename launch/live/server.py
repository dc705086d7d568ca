"""The page, what is new on it, and logs, by HTTP on this machine alone. Nothing that is asked changes anything.

Whoever else is on the machine can knock, and so can any page in a person's browser: each request has to bring the
token, and to name this machine as its host, which a foreign page that has its own name resolved to here does not.
"""

from __future__ import annotations

import errno
import hmac
import json
import re
import secrets
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from golang.errors import GolangError
from launch.live.feed import Feed
from launch.monitor.logs import log_file
from launch.monitor.tail import Tail
from launch.sweep.find import NotFoundError, runs_in
from launch.text import plain

HERE = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_CONNECTIONS = 128  # at once, whoever they are
_PATIENCE = 30.0  # seconds for a client to ask, or to take a piece of an answer
_SIGN_OF_LIFE = 15.0  # seconds after which a stream that has no news shows whether somebody hears it
_PAUSE = 0.3  # seconds between looks at a log
_PIECE = 64 * 1024


class Server(ThreadingHTTPServer):
    """Serves one sweep. `page` makes HTML from the payload and the token that the page is to use."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, sweep: Path, port: int, feed: Feed, page: Callable[[dict[str, Any], str], str]) -> None:
        """Port 0: a free one. Raises GolangError where the port can't be had."""
        self.sweep, self.feed = sweep, feed
        self._secret, self._page = secrets.token_urlsafe(32), page
        self._slots = threading.BoundedSemaphore(_CONNECTIONS)
        self._made = lru_cache(maxsize=1)(self._make)
        try:
            super().__init__((HERE, port), Handler)
        except OSError as error:
            why = "is taken on this machine" if error.errno == errno.EADDRINUSE else f"can't be had: {error.strerror}"
            raise GolangError(f"port {port} {why}; name another with --port, or none for one that is free") from error

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{HERE}:{self.port}/?token={self._secret}"

    def page(self) -> bytes:
        """Raises GolangError, OSError."""
        return self._made(self.feed.latest().version)

    def _make(self, version: int) -> bytes:
        # The page's token ends in the version that it shows: from there on it wants to hear what is new.
        return self._page(self.feed.latest().payload, f"{self._secret}.{version}").encode()

    def shown(self, token: str) -> int | None:
        """The version that the page of this token shows, 0 of none; None for a token that is not ours."""
        secret, _, version = token.partition(".")
        if not hmac.compare_digest(secret.encode(errors="replace"), self._secret.encode()):
            return None
        return _number(version) or 0

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the name service for a name that nobody needs

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as its base has it
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as its base has it
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as its base has it
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):  # who has left needs no word
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "golang", ""
    timeout = _PATIENCE
    _begun = False  # whether the head of the answer has been sent

    def log_message(self, format: str, *values: object) -> None:
        """Nothing: a request's line holds the token."""

    def do_GET(self) -> None:
        hosts = self.headers.get_all("Host") or []
        url = urlsplit(self.path)
        try:
            asked = {key: values[-1] for key, values in parse_qs(url.query, max_num_fields=16).items()}
        except ValueError:
            asked = {}
        if len(hosts) != 1 or re.sub(r":\d+$", "", hosts[0].lower()) not in _HOSTS:
            return self._say(
                403, "this server answers to localhost alone: open the address that `launch watch` printed"
            )
        version = self.server.shown(asked.get("token", ""))
        if version is None:
            return self._say(403, "the token is missing or another: open the address that `launch watch` printed")
        try:
            if url.path == "/":
                self._say(200, self.server.page(), "text/html; charset=utf-8")
            elif url.path == "/events":
                self._events(version)
            elif url.path == "/log":
                self._log(asked)
            else:
                self._say(404, "there is nothing of that name")
        except NotFoundError as error:
            self._say(404, str(error))
        except (ConnectionError, TimeoutError):
            raise
        except (GolangError, OSError) as error:
            if not self._begun:  # a stream ends, and its page asks again
                self._say(503, str(error))

    do_HEAD = do_GET  # noqa: N815 - as http.server names it

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Of a method that isn't there, and of what is no request. Its base would say the request's line."""
        if code == 501:
            self._say(405, "nothing here can be changed")
        else:
            self._say(code, "this is no request that a browser makes")

    def _events(self, version: int) -> None:
        self._head(200, "text/event-stream")
        version = _number(self.headers.get("Last-Event-ID", "")) or version
        while self.command != "HEAD" and not self.server.feed.closed.is_set():
            update = self.server.feed.newer(version, _SIGN_OF_LIFE)
            if update is None:
                self._write(b": nothing new\n\n")
            else:
                version = update.version
                self._write(f"event: update\nid: {version}\ndata: ".encode())
                self._write(update.data)
                self._write(b"\n\n")

    def _log(self, asked: dict[str, str]) -> None:
        run = next((run for run in runs_in(self.server.sweep) if run.path.name == asked.get("run")), None)
        attempt, rank = _number(asked.get("attempt", "")), _number(asked.get("rank", ""))
        if run is None or attempt is None or rank is None:
            raise NotFoundError("there is no log of that run, attempt and rank")
        with Tail(log_file(run, rank, attempt)) as tail:
            self._head(200, "text/event-stream")
            heard = time.monotonic()
            while self.command != "HEAD":
                if lines := tail.read():
                    data = json.dumps({"lines": lines})
                    self._write(f"event: lines\ndata: {data}\n\n".encode())
                elif time.monotonic() - heard > _SIGN_OF_LIFE:
                    self._write(b": nothing new\n\n")
                else:
                    if self.server.feed.closed.wait(_PAUSE):
                        return
                    continue
                heard = time.monotonic()

    def _say(self, status: int, body: bytes | str, kind: str = "text/plain; charset=utf-8") -> None:
        content = body if isinstance(body, bytes) else f"{plain(body)}\n".encode()
        self._head(status, kind, len(content))
        if self.command != "HEAD":
            self._write(content)

    def _head(self, status: int, kind: str, length: int | None = None) -> None:
        self.close_connection = self._begun = True
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Connection": "close",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        if status == 405:
            headers["Allow"] = "GET, HEAD"
        if length is not None:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, content: bytes) -> None:
        """In pieces, so that a slow line has the whole patience for each."""
        for start in range(0, len(content), _PIECE):
            self.wfile.write(content[start : start + _PIECE])


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None
