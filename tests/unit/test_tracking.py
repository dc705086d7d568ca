"""metrics.jsonl: its readers, its keys and their documentation."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch

from golang.config import Config
from golang.engine.distributed import ControlGroup
from golang.engine.rank import Rank
from golang.engine.session import Session
from golang.engine.stops import StopListener
from golang.method.permutations import local_permutations
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import TIMINGS, MetricsLog, Tail, read_metrics
from golang.tracking.client import code_version, mode_of
from golang.tracking.ticket import Ticket
from golang.training.meters import Meter
from golang.training.reporter import Pace, Reporter
from golang.world import World
from tests.unit.test_method import crops, step_of, tiny

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/metrics.md").read_text()


def test_a_tail_reads_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    tail = Tail(path)
    assert tail.read() == []
    log.write({"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
        file.flush()
        assert tail.read() == [{"step": 1}] and tail.read() == []
        file.write('ss": 0.5}\n{"step": 3}\n')
    assert tail.read() == [{"step": 2, "loss": 0.5}, {"step": 3}]


def test_half_written_and_damaged_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe\n{"no": "step"}\n[3]\n{"step": 2}\n{"step": 3, "lo')
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    assert [line["step"] for line in Tail(path).read()] == [1, 2]
    MetricsLog(path, 1).write({"step": 2, "again": True})
    assert read_metrics(path) == [{"step": 1}, {"step": 2, "again": True}], "cut to the step, and mended"


def test_every_metric_is_documented(tmp_path: Path) -> None:
    """The keys of a real line, of both methods, are the first column of the table, and nothing else is."""
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", DOCS, re.MULTILINE))
    golang, swav = _line(tmp_path / "golang", "golang"), _line(tmp_path / "swav", "swav")
    assert golang.keys() | swav.keys() == rows.keys()
    assert golang.keys() - swav.keys() == {key for key, meaning in rows.items() if meaning.startswith("GOLANG.")}
    assert {key for key, meaning in rows.items() if meaning.endswith("⏱")} == TIMINGS
    assert (golang["samples"], golang["epoch"], golang["attempt"], golang["step"]) == (4, 0, 0, 1)


def _line(path: Path, method: str) -> dict[str, object]:
    queue = {"length": 8, "local_length": 4 * 4 * 2} if method == "golang" else {"length": 8}
    config = tiny(method={"name": method}, queue=queue)
    run = RunFolder.create(path, config)
    step = step_of(config)
    rank = Rank(World(), torch.device("cpu"), ControlGroup(World()), StopListener())
    session = Session(config, rank, run.start_attempt(1, {}, None), None)
    report = Reporter(session, steps_per_epoch=5, shown=False)
    report.begin(20)
    drawn = local_permutations("batch", 4, 0, 0, first_row=0, rows=4) if method == "golang" else None
    meter = Meter(config, torch.device("cpu"))
    losses = step(0, *crops(), drawn)
    meter.add(losses, step.signs, step.optimizer)
    report.line(1, meter.read(), 0, step, Pace(steps=1), unreadable=0)
    assert not (path / "wandb").exists(), "tracking=none is the default"
    return json.loads((path / "metrics.jsonl").read_text())


def test_a_ticket_is_drawn_once(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, Config())
    first = Ticket.of(run)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}", first.id) and Ticket.of(run) == first
    assert Ticket.of(run).noting(run, logged=30) == Ticket.of(run) and Ticket.of(run).logged == 30
    anew = Ticket.of(run).anew(run)
    assert (anew.refused, anew.logged) == (first.id, 0) and anew.id[:9] == first.id[:9] and anew.id != first.id


@pytest.mark.parametrize(
    "damage", [{"logged": None}, {"logged": "many"}, {"whole": 3}, {"whole": [1]}, {"id": "../../../x"}, {"id": 7}]
)
def test_a_damaged_ticket_is_drawn_anew(tmp_path: Path, damage: dict) -> None:
    run = RunFolder.create(tmp_path / "run", Config())
    first = Ticket.of(run)
    path = tmp_path / "run" / "wandb" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    again = Ticket.of(run)
    assert again.id != first.id and again.id[:8] == first.id[:8] and Ticket.of(run) == again


def test_the_codes_version(tmp_path: Path) -> None:
    assert code_version(tmp_path / "code/0123456789ab") == "snapshot 0123456789ab"
    assert code_version(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@here"]
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message=first"]):
        subprocess.run([*git, *words], check=True)
    code_version.cache_clear()
    assert re.fullmatch(r"git [0-9a-f]{40}", code_version(tmp_path))


@pytest.mark.parametrize(
    ("name", "said", "mode"),
    [
        ("none", "", None), ("wandb", "", "online"), ("offline", "", "offline"), ("wandb", "offline", "offline"),
        ("wandb", "dryrun", "offline"), ("wandb", "disabled", None), ("offline", "disabled", None),
    ],
)  # fmt: skip
def test_how_a_run_is_tracked(monkeypatch: pytest.MonkeyPatch, name: str, said: str, mode: str | None) -> None:
    monkeypatch.setenv("WANDB_MODE", said)
    assert mode_of(Config.from_dict({"tracking": {"name": name}})) == mode
