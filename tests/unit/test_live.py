"""`launch watch --web`: who is answered, what is sent, and that it is safe to show."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from golang.config import Config
from golang.errors import GolangError
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.live import server as live
from launch.live.feed import Feed, stamps
from launch.live.serve import address
from launch.live.server import Server


class Served:
    """A server of a sweep of one run, whose payload is what a test sets."""

    def __init__(self, sweep: Path) -> None:
        self.run = RunFolder.create(sweep / "lr=1-0bcdef01", Config())
        self.log = self.run.start_attempt(1, {}, None).path / "rank0.log"
        self.log.write_text("begun\n")
        self.state, self.made = 1, 0
        self.feed = Feed(self._make, lambda: self.state, every=0.01)
        self.server = Server(sweep, 0, self.feed, lambda payload, token: f"<p>{payload['state']}</p>{token}")
        self.token = self.server.url.partition("?token=")[2]

    def _make(self) -> dict[str, int]:
        self.made += 1
        return {"state": self.state}

    def ask(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse()

    def log_path(self, **asked: object) -> str:
        words = {"run": "lr=1-0bcdef01", "attempt": 0, "rank": 0, "token": self.token} | asked
        return "/log?" + "&".join(f"{key}={value}" for key, value in words.items())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "mine")
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.feed.closed.set()
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def news(answer: http.client.HTTPResponse) -> tuple[str, str, dict[str, object]]:
    """The next event of a stream: its name, id and data; signs of life are passed over."""
    fields: dict[str, str] = {}
    while line := answer.readline().decode().rstrip("\n"):
        name, _, value = line.partition(": ")
        fields[name] = value
    return (fields["event"], fields.get("id", ""), json.loads(fields["data"])) if "event" in fields else news(answer)


def test_the_page(served: Served) -> None:
    answer = served.ask(f"/?token={served.token}")
    assert answer.status == 200 and answer.read().decode() == f"<p>1</p>{served.token}.1"
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["X-Frame-Options"] == "DENY"
    assert "Python" not in answer.headers["Server"]
    head = served.ask(f"/?token={served.token}", "HEAD")
    assert head.status == 200 and head.headers["Content-Length"] == str(len(f"<p>1</p>{served.token}.1"))
    assert head.read() == b"" and served.made == 1


@pytest.mark.parametrize("path", ["/", "/events", "/log?run=lr=1-0bcdef01&attempt=0&rank=0", "/nothing"])
@pytest.mark.parametrize("token", ["", "token=", "token=wrong", "token=%ff%00%C3%A9", "token=.1", "token=" + "x" * 43])
def test_without_the_token_nothing_is_told(served: Served, path: str, token: str) -> None:
    answer = served.ask(f"{path}{'&' if '?' in path else '?'}{token}")
    text = answer.read().decode()
    assert answer.status == 403 and "the token is missing or another" in text and served.made == 0
    assert served.token not in text


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "localhost:1:2", "0.0.0.0"]
)
def test_a_page_whose_name_was_resolved_to_here_is_told_nothing(served: Served, host: str) -> None:
    answer = served.ask(f"/?token={served.token}", Host=host)
    assert answer.status == 403 and b"answers to localhost alone" in answer.read()


def test_through_a_tunnel_with_another_port(served: Served) -> None:
    for host in ("localhost:9999", "127.0.0.1:9999", "localhost", "[::1]:80", "LOCALHOST:1"):
        assert served.ask(f"/?token={served.token}", Host=host).status == 200, host


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(served: Served, method: str) -> None:
    answer = served.ask(f"/?token={served.token}", method)
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"


def test_only_this_machine_can_knock(served: Served) -> None:
    assert served.server.server_address[0] == "127.0.0.1"


def test_a_request_is_no_path(served: Served, tmp_path: Path) -> None:
    (tmp_path / "rank0.log").write_text("secret")
    for path in ("/../rank0.log", "/mine/ledger.jsonl", "/%2e%2e/rank0.log", "/index.html"):
        assert served.ask(f"{path}?token={served.token}").status == 404
    wrong = {
        "run": ("", "..", "../mine/lr=1-0bcdef01"),
        "attempt": ("-1", "00/../00", "7", "9" * 400),
        "rank": ("../../x", "%D9%A0", "1"),
    }
    for asked in ({key: value} for key, values in wrong.items() for value in values):
        answer = served.ask(served.log_path(**asked))
        assert answer.status == 404 and b"secret" not in answer.read(), asked


def test_news_are_told_once_each_and_made_once_for_all(served: Served) -> None:
    page = served.ask(f"/?token={served.token}").read().decode()
    streams = [served.ask(f"/events?token={page.partition('</p>')[2]}") for _ in range(20)]
    assert (
        streams[0].headers["Content-Type"] == "text/event-stream" and streams[0].headers["Cache-Control"] == "no-store"
    )
    served.state = 2
    assert {str(news(stream)) for stream in streams} == {"('update', '2', {'state': 2})"}
    assert served.made == 2, "what the page shows already is not sent again"
    late = served.ask(f"/events?token={page.partition('</p>')[2]}", Last_Event_ID="1")
    assert news(late)[2] == {"state": 2}
    for stream in [*streams, late]:
        stream.close()


def test_who_has_left_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "_SIGN_OF_LIFE", 0.01)
    before = threading.active_count()
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", served.server.port))
        connection.sendall(f"GET /events?token={served.token}.1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.recv(10)
        connection.close()
    pause = threading.Event()
    assert any(threading.active_count() <= before or pause.wait(0.05) for _ in range(200))
    assert capfd.readouterr().err == ""


def test_no_more_connections_than_there_are_slots(served: Served) -> None:
    served.server._slots = threading.BoundedSemaphore(2)
    held = [served.ask(f"/events?token={served.token}.1") for _ in range(2)]
    with pytest.raises(ConnectionError):
        served.ask(f"/?token={served.token}")
    for stream in held:
        stream.close()


def test_what_cannot_be_made_is_said(tmp_path: Path, served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> dict[str, int]:
        raise GolangError("no \x1b room")

    make, served.feed._make = served.feed._make, fail
    answer = served.ask(f"/?token={served.token}")
    assert answer.status == 503 and answer.read() == b"no \\x1b room\n"
    served.feed._make = make
    assert served.ask(f"/?token={served.token}").status == 200
    served.state, served.feed._make = 2, fail
    assert b"<p>1</p>" in served.ask(f"/?token={served.token}").read(), "what there was is shown still"
    assert capfd.readouterr().err == "", "and no request is logged, whose line holds the token"


def test_a_payload_is_made_only_when_asked_for_and_no_more_often_than_every() -> None:
    made: list[int] = []
    state = iter(range(100))
    feed = Feed(lambda: {"number": made.append(1)}, lambda: next(state), every=1000)
    assert made == []
    assert feed.latest().version == 1 and feed.latest().version == 1 and feed.newer(1, 0) is None and len(made) == 1


def test_a_log_is_followed(served: Served) -> None:
    stream = served.ask(served.log_path())
    assert news(stream) == ("lines", "", {"lines": ["begun"]})
    with served.log.open("a") as file:
        file.write("on\nand")
    assert news(stream)[2] == {"lines": ["on"]}
    with served.log.open("a") as file:
        file.write(" on\n")
    assert news(stream)[2] == {"lines": ["and on"]}
    stream.close()


def test_a_log_that_is_a_link_or_a_pipe_is_not_read(served: Served, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    served.log.with_name("rank1.log").symlink_to(tmp_path / "key")
    os.mkfifo(served.log.with_name("rank2.log"))
    for rank in (1, 2):
        answer = served.ask(served.log_path(rank=rank))
        assert answer.status in (404, 503) and b"secret" not in answer.read()


@pytest.mark.parametrize("change", ["line", "attempt", "status", "result", "done", "held", "ledger", "run"])
def test_what_changes_is_seen(tmp_path: Path, change: str) -> None:
    sweep = tmp_path / "mine"
    run = RunFolder.create(sweep / "a-0bcdef01", Config())
    attempt = run.start_attempt(1, {}, None)
    attempt.write_status("running", 1, 2)
    (run.evaluation / "linear").mkdir(parents=True)
    run.metrics_file.write_text("{}\n")
    before = stamps(sweep)
    assert before == stamps(sweep)

    def write(path: Path) -> Callable[[], object]:
        return lambda: path.write_text(f"{path.read_text() if path.exists() else ''}{{}}\n")

    def hold() -> None:
        with run.hold():
            assert stamps(sweep) != before
        raise InterruptedError

    changes: dict[str, Callable[[], object]] = {
        "line": write(run.metrics_file), "attempt": lambda: run.start_attempt(1, {}, None),
        "status": lambda: attempt.write_status("running", 2, 2), "result": write(run.evaluation / "linear/result.json"),
        "done": run.done_file.touch, "held": hold, "ledger": write(sweep / "ledger.jsonl"),
        "run": lambda: RunFolder.create(sweep / "b-1bcdef01", Config(seed=2)),
    }  # fmt: skip
    try:
        changes[change]()
    except InterruptedError:
        return
    assert stamps(sweep) != before


def test_the_address_is_said_with_the_line_for_another_machine(served: Served) -> None:
    said = address("mine\x1b", served.server)
    url, line = re.findall(r"^  (.*)", said, re.MULTILINE)
    port = served.server.port
    assert url == f"http://127.0.0.1:{port}/?token={served.token}" and len(served.token) == 43 and "\x1b" not in said
    assert shlex.split(line)[:3] == ["ssh", "-L", f"{port}:127.0.0.1:{port}"]
    assert shlex.split(line)[3].endswith(f"@{socket.gethostname()}")


def test_a_port_that_is_taken(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(served.server.sweep)
    assert main(["watch", folder, "--web", "--port", str(served.server.port)]) == 2
    assert f"port {served.server.port} is taken on this machine; name another with --port" in capsys.readouterr().err
    assert main(["watch", folder, "--port", "80"]) == 2 and "add --web" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["watch", folder, "--web", "--port", "70000"])
    assert "70000 must be a number from 1 to 65535" in capsys.readouterr().err


def test_ctrl_c_ends_it_and_the_token_is_in_no_file(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the real payload and page, asked for while it is served."""
    served.run.metrics_file.write_text('{"step": 1, "loss": 2.0}\n')
    seen: list[str] = []

    def interrupted(server: Server) -> None:
        thread = threading.Thread(target=lambda: seen.append(_fetch(server.url)))
        thread.start()
        while thread.is_alive():
            server.handle_request()
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    monkeypatch.setattr(Server, "timeout", 0.05)
    assert main(["watch", str(served.server.sweep), "--web"]) == 0
    said = capsys.readouterr()
    token = re.search(r"token=(\S+)", said.out)
    assert token and f'"{token[1]}.1"' in seen[0] and "lr=1-0bcdef01" in seen[0] and said.err == ""
    texts = [path.read_bytes() for path in served.server.sweep.rglob("*") if path.is_file()]
    assert texts and not any(token[1].encode() in text for text in texts)


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())
