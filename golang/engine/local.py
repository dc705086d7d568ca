"""A run on this machine: one process a GPU, started, signalled and ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import torch

from golang.config import Config
from golang.data.sets import check_root
from golang.engine.distributed import free_port, pick_device, read_world
from golang.engine.preemption import DOUBLE_CLICK, INTERRUPTED, STOP_SIGNALS, STOPPED
from golang.engine.runfolder import RunFolder
from golang.engine.worker import PARENT_PIPE, work
from golang.errors import ConfigError
from golang.validation import check_world

SOURCES = str(Path(__file__).resolve().parents[2])  # the ranks run the code that started them
LINGER = 30.0  # seconds for the other ranks to leave once one has failed


def train_here(config: Config, run_dir: Path, processes: int | None = None, gpus: int | None = None) -> int:
    """Trains on `processes` ranks, by default one a GPU (`gpus`, or all visible), or one on the CPU; the exit status.

    Under torchrun or a Slurm step this process is one of the ranks already. Raises GolangError before anything
    starts: too many processes for the GPUs, a batch that can't be cut, a data set that isn't there.
    """
    if read_world() is not None:
        return work(config, run_dir)
    seen = torch.cuda.device_count()
    if gpus is not None and gpus > seen:
        raise ConfigError(
            f"cluster.gpus_per_node={gpus} is more than the {seen} GPUs visible here; ask for at most {seen}"
        )
    cpu = pick_device(config.device, 0, 1).type == "cpu"
    count = processes or (1 if cpu else gpus or seen)
    pick_device(config.device, count - 1, count)
    if config.evaluation.checkpoint is None:
        check_world(config, count)
    check_root(config.data, ("train",) if config.evaluation.checkpoint is None else ("train", "val"))
    if count == 1:
        return work(config, run_dir)
    RunFolder.create(run_dir, config)
    return _Family(run_dir, count).wait()


class _Family:
    """The rank processes. They live in their own sessions, so a Ctrl-C reaches them through this process alone, and
    they end when it does, however it does: each watches a pipe whose other end closes with it."""

    def __init__(self, run_dir: Path, count: int) -> None:
        read, self._write = os.pipe()
        self._interrupted = 0.0
        self._children: list[subprocess.Popen[bytes]] = []
        for number in STOP_SIGNALS:
            signal.signal(number, self._forward)
        threads = max(1, (os.cpu_count() or 1) // count)
        shared = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            "PYTHONPATH": os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")])),
            "PYTHONSAFEPATH": "1",  # nor modules that lie where the command is typed; since Python 3.11
            PARENT_PIPE: str(read),
        }
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            command = [sys.executable, "-m", "golang", str(run_dir)]
            self._children.append(
                subprocess.Popen(
                    command,
                    env=os.environ | shared | own,
                    pass_fds=[read],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        os.close(read)

    def wait(self) -> int:
        """Until all have left; the exit status of the first that failed, else 75 if they stopped, else 0."""
        failed_at: float | None = None
        while any(child.poll() is None for child in self._children):
            bad = [child for child in self._children if child.poll() not in (None, 0, STOPPED)]
            if bad and failed_at is None:
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > LINGER:
                self._signal(signal.SIGKILL)
            time.sleep(0.05)
        statuses = [child.returncode for child in self._children]
        failed = [status if status > 0 else 128 - status for status in statuses if status not in (0, STOPPED)]
        return failed[0] if failed else max(statuses)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted and time.monotonic() - self._interrupted > DOUBLE_CLICK:
                self._signal(signal.SIGKILL)
                os._exit(INTERRUPTED)
            self._interrupted = self._interrupted or time.monotonic()
        self._signal(number)

    def _signal(self, number: int) -> None:
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)
