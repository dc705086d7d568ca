"""Whole commands on CUDA: train, save, stop, resume, evaluate, on one rank and on two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from golang.sources import ROOT
from tests.cuda.null import build
from tests.cuda.trace import has_gpu

SMALL = (
    "device=cuda", "precision=bf16", "optim.epochs=2", "optim.batch_size=16", "data.toy.train=128", "data.toy.val=32",
    "data.workers=1", "checkpoint.every_steps=3", "checkpoint.every_minutes=1000",
)  # fmt: skip


class Command:
    """`python run.py …` in a folder of its own, on images that all such commands share."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.run, self.report, self.data = folder / "run", folder / "report.json", data
        self.stall = folder / "stall"  # of the null driver: the call in it does not return

    def start(self, *settings: str, place: dict[str, str] | None = None) -> subprocess.Popen[str]:
        environment = dict(os.environ) if has_gpu() else build.environment() | {"NULL_CUDA_DEVICES": "2"}
        environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NULL_CUDA_STALL": str(self.stall)}
        environment |= place or {"CUDA_VISIBLE_DEVICES": "0"}
        arguments = [*SMALL, f"run_dir={self.run}", f"data.root={self.data}", *settings]
        command = [sys.executable, "-m", "tests.cuda.whole", f"{self.report}", *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ranks(self, *settings: str) -> list[subprocess.Popen[str]]:
        """Two, as torchrun would start them."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        return [self.start(*settings, place={**shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]

    def wait_for_metrics(self, *processes: subprocess.Popen[str], after: int = 0) -> None:
        """Until a step behind `after` is logged."""
        metrics = self.run / "metrics.jsonl"
        while not metrics.exists() or not (lines := metrics.read_text().splitlines()) or _step(lines[-1]) <= after:
            for process in processes:
                assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)

    def __call__(self, *settings: str) -> str:
        process = self.start(*settings)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return said

    def seen(self, method: str) -> list[dict[str, int]]:
        return json.loads(self.report.read_text())[method]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first command writes the set."""
    return tmp_path_factory.mktemp("data") / "toy"


@pytest.fixture
def command(data: Path, tmp_path: Path) -> Command:
    return Command(tmp_path, data)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, str]:
    command = Command(tmp_path_factory.mktemp("whole"), data)
    return command, command("evaluation.probe=true")


def test_a_run_trains_saves_and_is_evaluated(trained: tuple[Command, str]) -> None:
    command, said = trained
    assert "finished: 16 steps" in said and "linear probe: mAP" in said
    assert json.loads((command.run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 16
    assert sorted(path.name for path in (command.run / "checkpoints").glob("step_*.pt"))[-1].startswith("step_00000016")


@pytest.mark.skipif(has_gpu(), reason="where the host waits, a GPU's profiler does not say by thread")
def test_only_the_first_steps_wait(trained: tuple[Command, str]) -> None:
    """The first step loads constants and has cuDNN choose; from then on none waits, nor one after a save."""
    steps = trained[0].seen("_train_on")
    assert len(steps) == 16 and steps[0] != {}
    assert [step for step in steps[1:] if step] == []


@pytest.mark.skipif(has_gpu(), reason="where the host waits, a GPU's profiler does not say by thread")
def test_a_save_waits_once_for_what_the_ranks_agree_on(trained: tuple[Command, str]) -> None:
    """Weights, momentum and queues leave through page-locked memory while the next steps compute."""
    saves = trained[0].seen("_save")
    assert len(saves) == 6
    for places in saves:
        assert sum(places.values()) == 1 and "event_wait_of_host" in next(iter(places)), places


@pytest.mark.skipif(has_gpu(), reason="a GPU's profiler is not watched by place")
def test_an_evaluation_reads_features_a_batch_at_a_time(trained: tuple[Command, str]) -> None:
    """Images go up from page-locked memory; only constants do not."""
    passes = trained[0].seen("pooled_features")
    assert passes
    for places in passes:
        assert [what for what in places if what.startswith("upload_pageable") and " of 12 bytes" not in what] == []


def test_a_stopped_run_is_continued(command: Command) -> None:
    process = command.start("optim.epochs=200")
    command.wait_for_metrics(process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said
    done = int(max(path.name for path in (command.run / "checkpoints").glob("step_*.pt")).split("_")[1].split(".")[0])
    again = command.start("optim.epochs=200")
    command.wait_for_metrics(again, after=done)
    again.send_signal(signal.SIGTERM)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 75 and f"continuing after step {done}" in said, said


@pytest.mark.skipif(has_gpu() and torch.cuda.device_count() < 2, reason="needs two GPUs, or none at all")
def test_a_lost_rank_ends_the_other_within_seconds(command: Command) -> None:
    first, second = command.ranks("optim.epochs=200")
    command.wait_for_metrics(first, second)
    second.kill()
    lost = time.monotonic()
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 76, said
    assert time.monotonic() - lost < 60
    assert json.loads((command.run / "attempts/00/cause.json").read_text())["cause"] == "killed"
    second.communicate()


@pytest.mark.skipif(has_gpu(), reason="a GPU does not stall when told to")
def test_a_full_launch_queue_does_not_hide_a_lost_rank(command: Command) -> None:
    """The main thread is inside a launch that does not return: another one notices, and ends the rank."""
    first, second = command.ranks("optim.epochs=200")
    command.wait_for_metrics(first, second)
    command.stall.write_text("launch")
    while not Path(f"{command.stall}.reached").exists():
        time.sleep(0.1)
    second.kill()
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 76, said
    told = [path for path in (command.run / "attempts/00").iterdir() if path.is_file() and 'File "' in path.read_text()]
    assert told  # where it stood
    second.communicate()


@pytest.mark.skipif(has_gpu(), reason="NCCL does not stall when told to")
def test_a_stop_ends_a_rank_that_waits_for_nccl(command: Command) -> None:
    command.stall.write_text("ncclCommInitRank")
    ranks = command.ranks()
    while not Path(f"{command.stall}.reached").exists():
        assert all(process.poll() is None for process in ranks)
        time.sleep(0.1)
    for process in ranks:
        process.terminate()
    for process in ranks:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 75, said


@pytest.mark.skipif(has_gpu() and torch.cuda.device_count() < 2, reason="needs two GPUs, or none at all")
def test_two_ranks_train_to_the_end_and_leave(command: Command) -> None:
    for process in command.ranks():
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert _step((command.run / "metrics.jsonl").read_text().splitlines()[-1]) == 16


def _step(line: str) -> int:
    step: int = json.loads(line)["step"]
    return step
