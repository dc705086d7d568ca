"""A rank that waits for ever: all ranks leave, their stacks are kept, and the run goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from golang import exits
from golang.config import Checkpoint, Config, Evaluation
from golang.data.crops.multicrop import Crops
from golang.data.sets import open_train
from golang.engine.rank import Rank
from golang.errors import PeerLostError
from golang.evaluation.probe.during import PeriodicProbe
from golang.runfolder.checkpoints import lineage
from golang.runfolder.folder import Attempt, RunFolder
from golang.training import trainer
from tests.resume.harness import Fault, differences, final_state, launch, metrics


@pytest.mark.parametrize(
    ("where", "rank", "frame"),
    [("step", 1, "endless_step"), ("data", 1, "in _next_data"), ("save", 0, "endless_write")],
)
def test_hang(
    where: Literal["step", "data", "save"], rank: int, frame: str, config: Config, undisturbed: Path, tmp_path: Path
) -> None:
    saves = Checkpoint(60.0, every_steps=2, keep_last=2, keep_every_epochs=0)
    patient = replace(config, checkpoint=saves)
    watched = replace(patient, hang_seconds=4.0)
    run = tmp_path / "run"
    assert launch(watched, run, ranks=2, fault=Fault(10, rank=rank, hang=where)) == [exits.HUNG, exits.HUNG]
    attempt = run / "attempts/00"
    cause = json.loads((attempt / "cause.json").read_text())
    assert cause["cause"] == "hang" and "no progress for 4 s while" in cause["message"]
    assert frame in (attempt / f"rank{rank}.stacks").read_text()
    assert "golang/training/trainer.py" in (attempt / f"rank{1 - rank}.stacks").read_text()
    assert "no progress for 4 s" in (attempt / f"rank{rank}.log").read_text()
    assert launch(patient, run, ranks=2) == [0, 0]
    state, golden = final_state(run), final_state(undisturbed)
    state.pop("config"), golden.pop("config")
    assert differences(state, golden) == []
    assert metrics(run) == metrics(undisturbed)


def endless_probe() -> None:
    def look(self: PeriodicProbe, *arguments: object) -> None:
        time.sleep(1000)

    PeriodicProbe.look = look


def endless_reading() -> None:
    def read(data: object, labelled: bool = True) -> None:
        time.sleep(1000 if os.environ["RANK"] == "1" else 0)
        return open_train(data, labelled)

    trainer.open_train = read


def endless_leaving() -> None:
    together = Rank.leave_together

    def leave(self: Rank, duties: Callable[[], None]) -> None:
        if self.world.rank == 1:
            time.sleep(1000)
        together(self, duties)

    Rank.leave_together = leave


@pytest.mark.parametrize(
    ("prepare", "rank", "doing"),
    [(endless_probe, 0, "probing after step 5"), (endless_reading, 1, "starting"), (endless_leaving, 1, "leaving")],
)
def test_hang_outside_of_steps(
    prepare: Callable[[], None], rank: int, doing: str, config: Config, tmp_path: Path
) -> None:
    watched = replace(config, hang_seconds=4.0, evaluation=Evaluation(probe_every_epochs=1))
    run = tmp_path / "run"
    assert launch(watched, run, ranks=2, fault=Fault(99, hang="step"), prepare=prepare) == [exits.HUNG, exits.HUNG]
    cause = json.loads((run / "attempts/00/cause.json").read_text())
    assert cause["cause"] == "hang" and f"while {doing}" in cause["message"]
    assert prepare.__name__.split("_")[1][:4] in (run / f"attempts/00/rank{rank}.stacks").read_text()


def endless_features() -> None:
    from golang.evaluation.protocols import knn

    features = knn.labelled_features

    def labelled(*arguments: object) -> object:
        time.sleep(1000 if os.environ["RANK"] == "1" else 0)
        return features(*arguments)

    knn.labelled_features = labelled


def test_a_hang_in_an_evaluation_leaves_every_ranks_word(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    weights = str(lineage(RunFolder(undisturbed))[0].path)
    measured = replace(config, hang_seconds=8.0, evaluation=Evaluation(protocol=("knn",), checkpoint=weights))
    run = tmp_path / "run"
    hung = launch(measured, run, ranks=2, fault=Fault(99, hang="step"), prepare=endless_features)
    assert hung == [exits.HUNG, exits.HUNG]
    attempt = Attempt(RunFolder(run), 0)
    assert attempt.cause()["cause"] == "hang" and "no progress for 8 s" in attempt.cause()["message"]
    assert [(word["rank"], word["cause"]) for word in attempt.failures()] == [(0, "hang"), (1, "hang")]
    assert all("no progress for 8 s" in attempt.log_file(rank).read_text() for rank in range(2))
    assert "in labelled" in attempt.stacks_file(1).read_text()


def broken_start() -> None:
    def build(config: Config) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    if os.environ["RANK"] == "1":
        trainer.build_model = build


def test_a_rank_that_fails_at_the_start_is_blamed(config: Config, tmp_path: Path) -> None:
    """The other one only sees that its peer is gone."""
    assert launch(config, tmp_path / "run", ranks=2, prepare=broken_start)[0] == PeerLostError.exit_status
    cause = json.loads((tmp_path / "run/attempts/00/cause.json").read_text())
    assert (cause["cause"], cause["rank"]) == ("out of memory", 1)


def blocked_launch() -> None:
    train_on = trainer.Trainer._train_on

    def launch_kernels(self: trainer.Trainer, batch: Crops) -> None:
        if self.session.done == 6:
            if self.world.rank == 1:
                self.session.saver.wait()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)  # as behind a collective of NCCL's, once the device's queue is full
        train_on(self, batch)

    trainer.Trainer._train_on = launch_kernels


def test_a_peer_that_dies_ends_a_rank_that_cannot_see_it(config: Config, tmp_path: Path) -> None:
    patient = replace(config, hang_seconds=600.0, checkpoint=Checkpoint(60.0, every_steps=2))
    run = tmp_path / "run"
    began = time.monotonic()
    assert launch(patient, run, ranks=2, prepare=blocked_launch) == [exits.PEER_LOST, -signal.SIGKILL]
    assert time.monotonic() - began < 120, "long before hang_seconds"
    cause = json.loads((run / "attempts/00/cause.json").read_text())
    assert cause["cause"] == "killed" and "another rank is gone since step 6; the last checkpoint" in cause["message"]
    assert "in launch_kernels" in (run / "attempts/00/rank0.stacks").read_text()


def slow_steps() -> None:
    train_on = trainer.Trainer._train_on
    trainer.GRACE = 1.0

    def slow(self: trainer.Trainer, batch: Crops) -> None:
        train_on(self, batch)
        done = self.session.done + 1
        if done == 2 and self.world.rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1.5 if done >= 2 else 0)

    trainer.Trainer._train_on = slow


def test_a_step_longer_than_the_grace_is_saved(config: Config, tmp_path: Path) -> None:
    assert launch(config, tmp_path / "run", ranks=2, prepare=slow_steps) == [75, 75]
    assert final_state(tmp_path / "run")["step"] == 3


def test_suspended_is_not_hung(tmp_path: Path) -> None:
    """Slurm may stop a process for hours; a hang is counted while it runs."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom golang.engine import watchdog\n"
        "from golang.engine.watchdog import Watchdog\nwatchdog.LINGER = 0.1\n"
        "with Watchdog(2.0, Path(sys.argv[1]), print) as dog:\n"
        "    for _ in range(int(sys.argv[2])):\n        dog.beat('counting'); print(1, flush=True); time.sleep(0.05)\n"
        "    time.sleep(float(sys.argv[3]))\n"
    )

    def start(steps: int, rest: float) -> subprocess.Popen[str]:
        arguments = [str(tmp_path / "stacks"), str(steps), str(rest)]
        return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)

    with start(20, 0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        assert process.wait(90) == 0
    with start(1, 60) as process:
        assert process.wait(90) == exits.HUNG
    assert "while counting" in (tmp_path / "stacks").read_text()
