"""Which rank this process is, among how many, and where rank 0 listens."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from golang.errors import ConfigError, RendezvousError

_PORTS = (10000, 65535)  # where to look for a free one


@dataclass(frozen=True)
class World:
    """One rank's place: set by run.py for its own ranks, torchrun, a Slurm step or submitit's local executor."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    nodes: int = 1
    address: str = ""  # of rank 0; "" until the ranks have met
    port: int = 0
    launcher: Literal["", "torchrun", "slurm", "submitit"] = ""  # who started the ranks; "" for a process on its own
    life: str = ""  # of the job: no other step, and no requeued attempt, has the same

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> World:
        """The place of a process that is to join others now. A Slurm step of one task counts as alone.
        Raises ConfigError when the environment is incomplete."""
        if "RANK" in environ and "WORLD_SIZE" in environ:
            names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
            rank, size, local_rank, local_size, port = (_whole(environ, name) for name in names)
            nodes, address = size // max(1, local_size), environ.get("MASTER_ADDR", "127.0.0.1")
            return cls(rank, size, local_rank, local_size, nodes, address, port, launcher="torchrun")
        world = cls.of_task(environ)
        if world.size == 1:
            return cls()
        if "MASTER_ADDR" not in environ or "MASTER_PORT" not in environ:
            raise ConfigError(
                f"{world.size} tasks were started without MASTER_ADDR and MASTER_PORT; "
                "export both in the batch script (the first node's name and a free port)"
            )
        return replace(world, address=environ["MASTER_ADDR"], port=_whole(environ, "MASTER_PORT"))

    @classmethod
    def of_task(cls, environ: Mapping[str, str] = os.environ) -> World:
        """The place of a task of a Slurm step or of submitit's local executor, whose ranks have yet to meet."""
        if "SLURM_PROCID" in environ and "SLURM_STEP_ID" in environ:
            restarts = environ.get("SLURM_RESTART_COUNT", "0")
            life = ".".join(("slurm", environ.get("SLURM_JOB_ID", ""), restarts, environ["SLURM_STEP_ID"]))
            tasks = tasks_of_nodes(environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
            node = int(environ.get("SLURM_NODEID", "0"))
            size = int(environ.get("SLURM_STEP_NUM_TASKS", environ.get("SLURM_NTASKS", "1")))
            here = tasks[node] if node < len(tasks) else 1
            rank, local_rank = _whole(environ, "SLURM_PROCID"), _whole(environ, "SLURM_LOCALID")
            return cls(rank, size, local_rank, here, len(tasks), launcher="slurm", life=life)
        if "SUBMITIT_LOCAL_GLOBALID" in environ:
            rank, size = _whole(environ, "SUBMITIT_LOCAL_GLOBALID"), _whole(environ, "SUBMITIT_LOCAL_NTASKS")
            life = "local." + (environ.get("GOLANG_SUBMISSION") or environ.get("SUBMITIT_LOCAL_JOB_ID", ""))
            return cls(rank, size, rank, size, launcher="submitit", life=life)
        return cls()


def tasks_of_nodes(text: str) -> list[int]:
    """Tasks of each node, from Slurm's short form: "2(x3),1" → 2, 2, 2, 1."""
    tasks: list[int] = []
    for part in text.split(","):
        count, _, times = part.partition("(x")
        tasks += [int(count)] * int(times.rstrip(")") or 1)
    return tasks


def free_port() -> int:
    """A TCP port that nothing listens on, outside the range from which the kernel takes ports for clients. Raises
    RendezvousError if there is none."""
    low, high = ephemeral_range()
    ports = [port for port in range(*_PORTS) if not low <= port <= high]
    generator = random.SystemRandom()  # another one for each attempt, even of the same job
    for port in generator.sample(ports, len(ports)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise RendezvousError(f"no free port on {socket.gethostname()} from {_PORTS[0]} to {_PORTS[1]}")


def ephemeral_range() -> tuple[int, int]:
    """The kernel's ports for clients, first and last."""
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return 32768, 60999
    return low, high


def _whole(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not value.isdecimal():
        raise ConfigError(f"the environment has {name}={value!r}; a whole number is needed to find this rank's peers")
    return int(value)
