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

from golang import exits, sources
from golang.config import Config
from golang.engine.doorway import prepare
from golang.engine.rank import pick_device
from golang.engine.stops import DOUBLE_CLICK, PARENT_PIPE, heeded
from golang.errors import ConfigError
from golang.runfolder.folder import RunFolder
from golang.world import World, free_port

LINGER = 30.0  # seconds for the other ranks to leave once one has failed


def train_here(config: Config, run_dir: Path, processes: int | None = None, gpus: int | None = None) -> int:
    """Trains on `processes` ranks, by default one a GPU (`gpus`, or all visible), or one on the CPU; the exit status.

    Under torchrun or a Slurm step this process is one of the ranks already. Raises GolangError before anything
    starts: wrong settings, too many processes for the GPUs, a batch that can't be cut, a data set that isn't there.
    """
    world = World.read()
    if world.launcher:
        from golang.processes.worker import work  # the whole trainer, for which a launcher of ranks does not wait

        return work(prepare(config, world, run_dir), run_dir, world)
    seen = torch.cuda.device_count()
    if gpus is not None and gpus > seen:
        raise ConfigError(
            f"cluster.gpus_per_node={gpus} is more than the {seen} GPUs visible here; ask for at most {seen}"
        )
    count = processes or (1 if pick_device(config.device).type == "cpu" else gpus or seen)
    pick_device(config.device, count - 1, count)
    config = prepare(config, World(size=count), run_dir)
    if count == 1:
        from golang.processes.worker import work

        return work(config, run_dir, world)
    RunFolder.create(run_dir, config)
    return _Family(run_dir, count).wait()


class _Family:
    """The rank processes. They live in their own sessions, so a Ctrl-C reaches them through this process alone, and
    they end when it does, however it does: each watches a pipe whose other end closes with it."""

    def __init__(self, run_dir: Path, count: int) -> None:
        read, self._write = os.pipe()
        self._interrupted = 0.0
        self._children: list[subprocess.Popen[bytes]] = []
        for number in heeded():
            signal.signal(number, self._forward)
        threads = max(1, (os.cpu_count() or 1) // count)
        shared = {
            "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            PARENT_PIPE: str(read),
        }  # fmt: skip
        command = [sys.executable, "-m", "golang", str(run_dir)]
        for rank in range(count):
            env = sources.environment() | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            self._children.append(
                subprocess.Popen(command, env=env, pass_fds=[read], stdin=subprocess.DEVNULL, start_new_session=True)
            )
        os.close(read)

    def wait(self) -> int:
        """Until all have left; the exit status of the first that failed, else 75 if they stopped, else 0."""
        failed_at: float | None = None
        while any(child.poll() is None for child in self._children):
            bad = [child for child in self._children if child.poll() not in (None, 0, exits.STOPPED)]
            if bad and failed_at is None:
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > LINGER:
                self._signal(signal.SIGKILL)
            time.sleep(0.05)
        statuses = [child.returncode for child in self._children]
        failed = [status if status > 0 else 128 - status for status in statuses if status not in (0, exits.STOPPED)]
        return failed[0] if failed else max(statuses)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted and time.monotonic() - self._interrupted > DOUBLE_CLICK:
                self._signal(signal.SIGKILL)
                os._exit(exits.INTERRUPTED)
            self._interrupted = self._interrupted or time.monotonic()
        self._signal(number)

    def _signal(self, number: int) -> None:
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)
