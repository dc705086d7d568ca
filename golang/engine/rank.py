"""One process among its ranks: its device, its process groups, its listener for stop signals."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from golang import exits
from golang.config import Config
from golang.data.packed.stage import released
from golang.engine import determinism
from golang.engine.causes import CHOICES, classify
from golang.engine.distributed import ControlGroup, connect, leave
from golang.engine.doorway import advise
from golang.engine.stops import StopListener
from golang.engine.watchdog import Watchdog
from golang.errors import ConfigError, RendezvousError
from golang.runfolder.causes import Word
from golang.world import World, addresses

log = logging.getLogger(__name__)
APART = 120.0  # seconds that ranks may come one after the other, however soon a step counts as hung


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
                self.control.say_farewell()
                self.control.barrier()
        if self.first and self.world.size > 1:
            time.sleep(0.3)


@contextlib.contextmanager
def join(config: Config, world: World) -> Iterator[Rank]:
    """Joins the other ranks of `world` until left. Raises ConfigError, and RendezvousError where the network keeps them
    apart."""
    device = pick_device(config.device, world.local_rank, world.local_size)
    determinism.set_up(config, device, world)
    advise(config, world, device)
    with StopListener() as listener, released(config.data.keep_staged):
        try:
            found: list[str] = []  # addresses of rank 0: who looks them up may wait for ever, too
            with _watched(config, world, "joining", lambda: f"{_way(world, found)}; {CHOICES}"):
                control = _meet(world, device, listener, found)
            yield Rank(world, device, control, listener)
        except BaseException:
            leave(failed=True)
            raise
        with _watched(config, world, "leaving"):
            leave()


def _meet(world: World, device: torch.device, listener: StopListener, found: list[str]) -> ControlGroup:
    try:
        with listener.meeting():
            found += addresses(world.address) if world.size > 1 else []
            connect(world, device)
            return ControlGroup(world)
    except (OSError, RuntimeError) as error:
        if listener.signal:  # so were the others, and are gone
            os._exit(exits.STOPPED)
        cause = classify(error)
        if cause.word != Word.NETWORK:
            raise
        raise RendezvousError(
            f"rank {world.rank} of {world.size} on {socket.gethostname()} did not reach the others"
            f"{_way(world, found)}: {str(error).strip()[:500]}; {cause.remedy}"
        ) from error


def _way(world: World, found: Sequence[str]) -> str:
    """To rank 0, whose addresses were `found`."""
    known = ", ".join(dict.fromkeys(found)) or "a name of which no address was found"
    known = "" if known == world.address else f" ({known})"
    return f" by way of {world.address}{known}, port {world.port}"


def _watched(config: Config, world: World, doing: str, more: Callable[[], str] = str) -> Watchdog:
    """A watchdog for when the ranks have no attempt together: its word, and `more`, goes to the log, stacks to standard
    error."""
    seconds = max(config.hang_seconds, APART) if config.hang_seconds and world.size > 1 else 0
    whose = f"rank {world.rank} of {world.size} on {socket.gethostname()}"
    return Watchdog(seconds, None, lambda said: log.error("%s: %s the other ranks%s", whose, said, more()), doing)


def pick_device(asked: str, local_rank: int = 0, local_size: int = 1) -> torch.device:
    """The device of a rank. Raises ConfigError when more GPUs are asked for than this process can see, and when it sees
    none of those that Slurm gave it."""
    seen = torch.cuda.device_count()
    given = os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS")
    if asked == "auto" and seen == 0 and given:
        raise ConfigError(
            f"Slurm gave this job GPU {given}, but torch sees none, and device=auto would train on the CPU beside it; "
            "`nvidia-smi` and `python -m torch.utils.collect_env` there say why, device=cpu trains without"
        )
    if asked == "cpu" or (asked == "auto" and seen == 0):
        return torch.device("cpu")
    if seen == 0:
        raise ConfigError("device=cuda, but torch sees no GPU here; use device=cpu, or check CUDA_VISIBLE_DEVICES")
    # Slurm may show each task its own GPU alone.
    index = 0 if seen == 1 and local_size > 1 and "SLURM_PROCID" in os.environ else local_rank
    if index >= seen:
        raise ConfigError(f"{local_size} processes need {local_size} GPUs, but {seen} are visible; start {seen}")
    return torch.device("cuda", index)
