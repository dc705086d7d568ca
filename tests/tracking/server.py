"""A W&B server on loopback, as far as the real client needs one: it keeps what it is sent, by run."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "5ec4e7" + "0123456789abcdef" * 2 + "00"  # as long as a real one


@dataclass
class Run:
    """What the server knows of one run."""

    facts: dict[str, Any]  # of the mutations that made and changed it
    history: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    preempting: bool = False
    exits: list[int] = field(default_factory=list)

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.history]


class Server:
    """`url` is where it listens; `runs` by id; ids in `deleted` are refused, as W&B does."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.deleted: set[str] = set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    @contextmanager
    def listening(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (stream := re.fullmatch(r"/files/[^/]*/[^/]*/([^/]+)/file_stream", path)) is not None:
            return self._stream(self.runs[stream[1]], body)
        query, variables = body.get("query", ""), body.get("variables") or {}
        if "RunResumeStatus" in query:
            return 200, {"data": {"model": {"bucket": self._resume(variables["name"])}}}
        if "UpsertBucket" in query:
            return self._upsert(variables)
        if "CreateRunFiles" in query:
            self.runs[variables["run"]].files += variables["files"]
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            made = {"runID": variables["run"], "uploadHeaders": [], "files": files}
            return 200, {"data": {"createRunFiles": made}}
        return 200, {"data": {}}

    def _resume(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        tail = [json.dumps(row) for row in run.history[-1:]]
        return {
            "id": name, "name": name, "summaryMetrics": json.dumps(run.summary), "displayName": name, "config": "{}",
            "logLineCount": 0, "historyLineCount": len(run.history), "eventsLineCount": len(run.events),
            "historyTail": json.dumps(tail), "eventsTail": "[]", "tags": [], "notes": "",
            "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip

    def _upsert(self, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = variables["name"]
        if name in self.deleted:
            said = f"run {variables['project']}/{name} was previously created and deleted; try a new run name"
            return 409, {"errors": [{"message": said}]}
        inserted = name not in self.runs
        run = self.runs.setdefault(name, Run({}))
        run.facts |= {key: value for key, value in variables.items() if value is not None}
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
        bucket = {
            "id": name, "name": name, "displayName": name, "description": "", "config": "{}", "sweepName": None,
            "project": project, "historyLineCount": len(run.history),
        }  # fmt: skip
        return 200, {"data": {"upsertBucket": {"bucket": bucket, "inserted": inserted}}}

    def _stream(self, run: Run, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for name, chunk in (body.get("files") or {}).items():
            rows = [json.loads(text) for text in chunk["content"]] if name.endswith((".jsonl", ".json")) else []
            if name == "wandb-history.jsonl":
                run.history[chunk["offset"] :] = rows
            elif name == "wandb-events.jsonl":
                run.events += rows
            elif name == "wandb-summary.json":
                run.summary = rows[-1]
        run.preempting = run.preempting or bool(body.get("preempting"))
        if body.get("complete"):
            run.exits.append(body["exitcode"])
        return 200, {"limits": {}}


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            told = self.path.startswith(("/graphql", "/files/"))  # else uploads and the client's telemetry
            sent = json.loads(data) if told else {}
            status, reply = server.answer(self.path, sent)
            text = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Quietly."""

    return Handler
