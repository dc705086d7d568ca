"""One process among its ranks: its device, its process groups, its listener for stop signals."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from golang.config import Config
from golang.engine import determinism
from golang.engine.distributed import ControlGroup, connect, leave
from golang.engine.stops import StopListener
from golang.errors import ConfigError
from golang.world import World


@dataclass(frozen=True)
class Rank:
    """Its place, its device, the group for decisions of all ranks, and its listener for stop signals."""

    world: World
    device: torch.device
    control: ControlGroup
    listener: StopListener

    @property
    def first(self) -> bool:
        return self.world.rank == 0

    def leave_together(self, duties: Callable[[], None]) -> None:
        """All ranks wait for rank 0's last `duties`, so that none that leaves early cuts it short; rank 0 goes last."""
        try:
            if self.first:
                duties()
        finally:
            with contextlib.suppress(RuntimeError):  # a peer that died has nothing left to wait for
                self.control.barrier()
        if self.first and self.world.size > 1:
            time.sleep(0.3)


@contextlib.contextmanager
def join(config: Config, world: World) -> Iterator[Rank]:
    """Joins the other ranks of `world` until left. Raises ConfigError."""
    device = pick_device(config.device, world.local_rank, world.local_size)
    determinism.set_up(config, device, world)
    with StopListener() as listener:
        connect(world, device)
        try:
            yield Rank(world, device, ControlGroup(world), listener)
        except BaseException:
            leave(failed=True)
            raise
        leave()


def pick_device(asked: str, local_rank: int = 0, local_size: int = 1) -> torch.device:
    """The device of a rank. Raises ConfigError when more GPUs are asked for than this process can see."""
    seen = torch.cuda.device_count()
    if asked == "cpu" or (asked == "auto" and seen == 0):
        return torch.device("cpu")
    if seen == 0:
        raise ConfigError("device=cuda, but torch sees no GPU here; use device=cpu, or check CUDA_VISIBLE_DEVICES")
    # Slurm may show each task its own GPU alone.
    index = 0 if seen == 1 and local_size > 1 and "SLURM_PROCID" in os.environ else local_rank
    if index >= seen:
        raise ConfigError(f"{local_size} processes need {local_size} GPUs, but {seen} are visible; start {seen}")
    return torch.device("cuda", index)
