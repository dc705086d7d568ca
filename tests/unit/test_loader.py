"""The loader's processes: equal batches, deaf to signals, gone with their trainer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.config import Augment
from golang.data.crops.multicrop import MultiCrop
from golang.data.images import ImageSet
from golang.data.loader import close, train_loader
from golang.data.readers.folder import Folder
from golang.data.sampler import StepSampler
from golang.errors import DataError
from tests.unit.test_data import save

ROOT = Path(__file__).resolve().parents[2]
SMALL = replace(Augment(), large_size=32, small_size=16, small_count=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for n in range(12):
        save(root / f"{n:02d}.jpg", n)
    return root


def test_workers_change_nothing(photos: Path) -> None:
    dataset = MultiCrop(Folder().read(photos), SMALL, seed=3)
    batches = {}
    for workers in (0, 2):
        loader = train_loader(dataset, StepSampler(12, 4, 5, 3), workers, pin_memory=False)
        iterator = iter(loader)
        batches[workers] = list(iterator)
        close(iterator)
        assert len(loader) == len(batches[workers]) == 5
    for here, there in zip(batches[0], batches[2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    resumed = next(iter(train_loader(dataset, StepSampler(12, 4, 5, 3, start_step=4), 0, pin_memory=False)))
    assert torch.equal(resumed[0], batches[2][4][0])


def test_an_unreadable_image_reaches_the_trainer(photos: Path) -> None:
    images = ImageSet.of(photos, ["gone.jpg"])
    iterator = iter(train_loader(MultiCrop(images, SMALL, 0), StepSampler(1, 1, 1, 0), 1, pin_memory=False))
    with pytest.raises(DataError, match=r"gone\.jpg"):
        next(iterator)
    close(iterator)


class Slow(MultiCrop):
    """Takes as long as a stalled file server over every image after the first ones."""

    def __getitem__(self, position):
        if position[0] > 0:
            time.sleep(60)
        return super().__getitem__(position)


def test_close_does_not_wait_for_a_batch_in_the_making(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = Slow(Folder().read(photos), SMALL, seed=3)
    iterator = iter(train_loader(dataset, StepSampler(12, 6, 10, 3), 2, pin_memory=False))
    next(iterator), next(iterator)
    workers = list(iterator._workers)
    time.sleep(0.3)
    start = time.monotonic()
    close(iterator)
    assert time.monotonic() - start < 30
    assert not any(worker.is_alive() for worker in workers)
    close(iterator)
    assert capfd.readouterr() == ("", "")
    close(iter(train_loader(dataset, StepSampler(12, 6, 10, 3), 0, pin_memory=False)))


TRAINER = """
import os, signal, sys, time
from pathlib import Path
import golang
from golang.config import Augment
from golang.data import loader
from golang.data.crops.multicrop import MultiCrop
from golang.data.readers.folder import Folder
from golang.data.sampler import StepSampler

class Slow(MultiCrop):
    def __getitem__(self, position):
        time.sleep(0.02)
        return super().__getitem__(position)

read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda *_: None)
dataset = Slow(Folder().read(Path(sys.argv[1])), Augment(large_size=16, small_count=0), 0)
print("starting", flush=True)
iterator = iter(loader.train_loader(dataset, StepSampler(12, 4, 1000, 0), 2, pin_memory=False))
next(iterator)
print(*(worker.pid for worker in iterator._workers), flush=True)
for _ in range(20):
    next(iterator)
print("done", flush=True)
# The iterator is left open: the interpreter has to end its workers by itself.
"""


def gone(pid: int, within: float) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True  # dead; whoever adopted it has not looked yet
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a process group, /proc")
def test_signals_to_the_group_stop_no_worker_and_the_interpreter_still_ends(photos: Path) -> None:
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(photos)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    try:
        assert trainer.stdout is not None and trainer.stdout.readline() == "starting\n"
        for number in numbers * 20:  # while the workers start, and while they work
            os.killpg(trainer.pid, number)
            time.sleep(0.003)
        workers = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(workers) == 2
        for number in numbers:
            os.killpg(trainer.pid, number)
        assert trainer.stdout.readline() == "done\n"
        _, errors = trainer.communicate(timeout=60)
        assert trainer.returncode == 0 and errors == ""
        assert all(gone(pid, 30) for pid in workers)
    finally:
        trainer.kill()
        trainer.communicate()


def train_for_ever(photos: Path, pids) -> None:
    dataset = MultiCrop(Folder().read(photos), SMALL, seed=3)
    iterator = iter(train_loader(dataset, StepSampler(12, 4, 10, 3), 2, pin_memory=False))
    next(iterator)
    pids.send([worker.pid for worker in iterator._workers])
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_workers_die_with_a_killed_trainer(photos: Path) -> None:
    fork = multiprocessing.get_context("fork")
    pids, theirs = fork.Pipe(duplex=False)
    trainer = fork.Process(target=train_for_ever, args=(photos, theirs))
    trainer.start()
    try:
        workers = pids.recv()
    finally:
        trainer.kill()
    assert len(workers) == 2 and all(gone(pid, 30) for pid in workers)
    trainer.join()
