"""What W&B's own client wrote without a network: each step once, in order, whatever happened to the run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics
from golang.tracking.publish import publish
from golang.training.trainer import Trainer
from launch.__main__ import main
from tests.resume.harness import TOTAL
from tests.tracking import records
from tests.tracking.conftest import roll_back, said, sender, wait

ROOT = Path(__file__).parents[2]
STEPS = list(range(1, TOTAL + 1))
OFFLINE = {"name": "offline", "project": "mine", "tags": ["first"], "notes": "a note"}


def test_a_run_that_was_stopped_and_rolled_back(
    configure: Callable[..., Config], attempt: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = configure(tracking=OFFLINE), tmp_path / "run"
    assert attempt(config, run, stop=10) == 75
    roll_back(run)
    assert attempt(config, run, stop=15) == 75
    assert attempt(config, run) == 0
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl")] == STEPS

    written = records.files(run)
    assert len(written) == 3, "an attempt each"
    assert [row["step"] for path in written for row in records.history(path)] == STEPS, "none twice after the rollback"
    ticket = json.loads((run / "wandb/run.json").read_text())
    assert ticket["logged"] == TOTAL and {records.run(path).run_id for path in written} == {ticket["id"]}
    assert [record.WhichOneof("record_type") for record in records.records(written[0])].count("stats") > 0

    # One clean run of all attempts, as often as one likes.
    for _ in range(2):
        capsys.readouterr()
        assert main(["sync", str(run), "--offline"]) == 0
        (clean,) = records.files(run / "wandb/clean-pretrain")
        assert capsys.readouterr().out == f"run: send it with: wandb sync {clean.parent}\n"
        rows = records.history(clean)
        assert [row["_step"] for row in rows] == STEPS
        for row, line in zip(rows, read_metrics(run / "metrics.jsonl"), strict=True):
            assert {key: row[key] for key in line if key != "time"} == {k: v for k, v in line.items() if k != "time"}
    facts = records.run(clean)
    assert (facts.run_id, facts.project, facts.run_group) == (ticket["id"], "mine", "test")
    assert (facts.job_type, facts.notes, facts.display_name) == ("pretrain", "a note", "run")
    assert set(facts.tags) == {"toy", "golang", "first"} and ticket["id"].partition("-")[0] == facts.run_id[:8]
    sent = {item.key: json.loads(item.value_json) for item in facts.config.update}
    assert sent["optim"] == config.to_dict()["optim"] and "code" in sent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_that_reach_wandb_too(
    configure: Callable[..., Config],
    attempt: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """Slurm signals every process of a job. W&B's helper dies of it, before it has written anything; the mirror takes
    up what it knew. With both killed, the next attempt does."""
    config, run = configure(tracking=OFFLINE), tmp_path / "run"
    train_on = Trainer._train_on

    def signalling(self: Trainer, *batch: object) -> None:
        train_on(self, *batch)
        if self.session.done + 1 == 10:
            wait(lambda: "W&B" in said(run))
            mirror = sender(self).pid
            for pid in (*children(mirror), mirror):
                os.kill(pid, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_on", signalling)
        assert attempt(config, run, stop=14) == 75
    assert attempt(config, run) == 0
    assert [row["step"] for path in records.files(run) for row in records.history(path)] == STEPS
    assert list(run.glob("wandb/unfinished-offline-run-*"))


def children(pid: int) -> list[int]:
    """The processes that it started, and theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            if int(words[1]) == pid:
                found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def test_a_machine_without_a_key(configure: Callable[..., Config], attempt: Callable[..., int], tmp_path: Path) -> None:
    """tracking=wandb goes offline, and says so in one line; nothing asks for a key."""
    config, run = configure(tracking={"name": "wandb"}), tmp_path / "run"
    assert attempt(config, run, stop=3) == 75
    (written,) = records.files(run)
    reached = read_metrics(run / "metrics.jsonl")[-1]["step"]
    assert [row["step"] for row in records.history(written)] == STEPS[:reached]
    assert said(run).count("this machine has no key for W&B, so it is tracked offline") == 1


def test_sync_leaves_a_run_alone_that_is_being_trained(
    configure: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder.create(tmp_path / "run", configure())
    with run.hold():
        assert main(["sync", str(run.path)]) == 1
    assert "is being trained now" in capsys.readouterr().err
    assert main(["sync", str(run.path)]) == 1 and "has no metrics yet" in capsys.readouterr().err
    assert not (run.path / "wandb").exists()


def test_sync_without_a_key_asks_for_none_at_a_terminal(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", Config.from_dict({"tracking": {"name": "wandb"}}))
    run.metrics_file.write_text('{"step": 1, "loss": 2.0}\n')
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    keyboard, terminal = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "launch", "sync", str(run.path)], cwd=ROOT, stdin=terminal, stdout=terminal,
            stderr=terminal, env=environment | {"HOME": str(tmp_path)}, start_new_session=True,
        )  # fmt: skip
        try:
            assert process.wait(100) == 0
        finally:
            process.kill()
        shown = os.read(keyboard, 10_000)
        assert b"run: this machine has no key for W&B; after `wandb login`, send it with: wandb sync" in shown
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_a_half_written_line_is_not_sent(
    configure: Callable[..., Config], attempt: Callable[..., int], tmp_path: Path
) -> None:
    config, run = configure(optim={"epochs": 1}), tmp_path / "run"
    assert attempt(config, run) == 0
    assert not (run / "wandb").exists(), "not tracked"
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 1.')
    publish(run, offline=True)
    (clean,) = records.files(run / "wandb/clean-pretrain")
    assert [row["step"] for row in records.history(clean)] == STEPS[:5]
