"""Tracking online: the real client against a server on loopback that keeps what it is sent."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.metrics import read_metrics
from golang.tracking.publish import publish
from tests.resume.harness import TOTAL, metrics
from tests.tracking.conftest import roll_back, said, sender
from tests.tracking.server import KEY, Server

STEPS = list(range(1, TOTAL + 1))
WANDB = {"name": "wandb"}
Attempt = Callable[..., int]
Configure = Callable[..., Config]


def test_one_run_whatever_happens(configure: Configure, attempt: Attempt, server: Server, tmp_path: Path) -> None:
    """Stopped, rolled back, its last points lost on the way, finished, evaluated: one run there, each step once."""
    config, folder = configure(tracking=WANDB, evaluation={"probe": True}), tmp_path / "run"
    assert attempt(config, folder, stop=10) == 75
    ((name, run),) = server.runs.items()
    reached = metrics(folder)[-1]["step"]
    assert run.steps == STEPS[:reached] and run.preempting and run.exits == [75]
    del run.history[9:]  # as if they had not arrived: the server has the last word on what it has
    run.summary["_step"] = 9
    roll_back(folder)
    assert attempt(config, folder, stop=14) == 75
    assert server.runs == {name: run} and run.steps == STEPS[: metrics(folder)[-1]["step"]]
    assert attempt(config, folder) == 0
    assert server.runs == {name: run} and run.steps == STEPS and run.exits == [75, 75, 0]
    lines = read_metrics(folder / "metrics.jsonl")
    assert [row["loss"] for row in run.history] == pytest.approx([line["loss"] for line in lines])
    assert (run.facts["groupName"], run.facts["jobType"], run.facts["project"]) == ("test", "pretrain", "golang")
    assert name.startswith(folder_id(folder)) and f"/runs/{name}" in said(folder)
    linear = json.loads((folder / "evaluation/linear.json").read_text())
    assert run.summary["mAP"] == linear["mAP"] and {"pictures/curves", "pictures/attention"} <= set(run.summary)
    assert any("pictures/curves" in file for file in run.files)
    assert any(key.startswith("system.") for event in run.events for key in event)

    # Sent again, nothing is doubled; an evaluation by itself is a run beside it.
    assert publish(folder).startswith("sent to ") and publish(folder, job_type="eval").endswith(f"{name}-eval")
    assert run.steps == STEPS
    assert server.runs[f"{name}-eval"].facts["jobType"] == "eval" and server.runs[f"{name}-eval"].summary["mAP"] > 0


def folder_id(folder: Path) -> str:
    return json.loads((folder / "wandb/run.json").read_text())["id"].partition("-")[0]


def test_a_deleted_run(configure: Configure, attempt: Attempt, server: Server, tmp_path: Path) -> None:
    config, folder = configure(tracking=WANDB), tmp_path / "run"
    assert attempt(config, folder, stop=3) == 75
    (first,) = server.runs
    server.deleted.add(first)
    assert attempt(config, folder, stop=8) == 75
    ticket = json.loads((folder / "wandb/run.json").read_text())
    assert ticket["refused"] == first and ticket["id"].partition("-")[0] == first.partition("-")[0]
    assert server.runs[ticket["id"]].steps == STEPS[: len(server.runs[ticket["id"]].steps)], "from the first step on"
    assert said(folder).count(f"W&B would not take the id {first} again") == 1
    server.deleted.add(ticket["id"])
    assert attempt(config, folder) == 0, "tracking never stops a run"
    assert len(server.runs) == 2


def test_what_was_tracked_offline_goes_online(
    configure: Configure, attempt: Attempt, server: Server, tmp_path: Path
) -> None:
    config, folder = configure(tracking={"name": "offline"}), tmp_path / "run"
    assert attempt(config, folder, stop=6) == 75
    roll_back(folder)
    assert attempt(config, folder) == 0
    assert server.runs == {}
    for _ in range(2):
        publish(folder)
        (run,) = server.runs.values()
        assert run.steps == STEPS


def test_wandbs_own_sync_of_the_clean_folder(
    configure: Configure, attempt: Attempt, server: Server, tmp_path: Path
) -> None:
    config, folder = configure(), tmp_path / "try 1"
    assert attempt(config, folder) == 0
    (command,) = shlex.split(publish(folder, offline=True).partition("wandb sync ")[2])
    done = subprocess.run([sys.executable, "-m", "wandb", "sync", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = server.runs.values()
    assert run.steps == STEPS and run.facts["jobType"] == "pretrain"


def test_an_unreachable_server(
    configure: Configure, attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is the same as without tracking, and leaves without waiting for anyone."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert attempt(configure(tracking=WANDB), tmp_path / "tracked") == 0
    assert attempt(configure(), tmp_path / "plain") == 0
    assert metrics(tmp_path / "tracked") == metrics(tmp_path / "plain")


def test_without_wandbs_client(
    configure: Configure, attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra: where it is not installed, a line says so."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without/wandb.py").write_text("raise ImportError('No module named wandb')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    assert attempt(configure(tracking=WANDB), tmp_path / "run", stop=3) == 75
    assert said(tmp_path / "run").count("W&B's client is not installed: pip install") == 1


def test_a_mirror_that_dies(configure: Configure, attempt: Attempt, server: Server, tmp_path: Path) -> None:
    """W&B's client is another process; with it gone, and its pipe broken, the run goes on."""
    from golang.training.trainer import Trainer

    train_on = Trainer._train_on

    def killing(self: Trainer, *batch: object) -> None:
        train_on(self, *batch)
        if self.session.done + 1 == 3:
            sender(self).kill()
            sender(self).wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_train_on", killing)
        assert attempt(configure(tracking=WANDB), tmp_path / "run") == 0
    assert len(metrics(tmp_path / "run")) == TOTAL
