"""How the ranks of one attempt find each other: rank 0 says in a file of the run folder where it listens."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from golang.engine.runfolder import read_json
from golang.errors import GolangError

PATIENCE = 900.0  # seconds for rank 0 to speak: nodes start apart, and shared folders show new files late
_OPEN = (10000, 65535)  # where to look for a port


class RendezvousError(GolangError):
    """Rank 0 was not heard of."""

    exit_status = 70


@dataclass(frozen=True)
class Place:
    """This task among the tasks of its step."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    nodes: int
    key: str  # of this life of the job: another one must not find our file

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> Place | None:
        """From a Slurm step or from submitit's local executor; None for a process on its own."""
        if "SLURM_PROCID" in environ and "SLURM_STEP_ID" in environ:
            key = ".".join((environ["SLURM_JOB_ID"], environ.get("SLURM_RESTART_COUNT", "0"), environ["SLURM_STEP_ID"]))
            here = _tasks_of(environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
            node = int(environ.get("SLURM_NODEID", "0"))
            size = int(environ.get("SLURM_STEP_NUM_TASKS", environ.get("SLURM_NTASKS", "1")))
            local_size = here[node] if node < len(here) else 1
            return cls(
                int(environ["SLURM_PROCID"]), size, int(environ["SLURM_LOCALID"]), local_size, len(here), f"slurm.{key}"
            )
        if "SUBMITIT_LOCAL_GLOBALID" in environ:
            rank, size = int(environ["SUBMITIT_LOCAL_GLOBALID"]), int(environ["SUBMITIT_LOCAL_NTASKS"])
            key = environ.get("GOLANG_SUBMISSION") or environ.get("SUBMITIT_LOCAL_JOB_ID", "")
            return cls(rank, size, rank, size, 1, f"local.{key}")
        return None


def meet(run_dir: Path, place: Place, patience: float = PATIENCE) -> tuple[str, int]:
    """Rank 0's address and port, on every rank. Raises RendezvousError after `patience` seconds."""
    file = run_dir / "attempts" / f"meeting.{place.key}.json"
    if place.rank == 0:
        address, port = ("127.0.0.1" if place.nodes == 1 else socket.gethostname()), free_port()
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"address": address, "port": port}))
        temporary.replace(file)
        return address, port
    deadline = time.monotonic() + patience
    while (said := read_json(file)) is None:
        if time.monotonic() > deadline:
            raise RendezvousError(
                f"rank {place.rank} waited {patience:g} s for rank 0 to write {file}; is {run_dir} on a file system "
                "that all nodes share?"
            )
        os.scandir(file.parent).close()  # makes a network file system look again
        time.sleep(0.1)
    return str(said["address"]), int(said["port"])


def free_port() -> int:
    """A TCP port that nothing listens on, outside the range from which the kernel takes ports for clients."""
    low, high = ephemeral_range()
    ports = [port for port in range(*_OPEN) if not low <= port <= high]
    generator = random.SystemRandom()  # another one for each attempt, even of the same job
    for port in generator.sample(ports, len(ports)):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise RendezvousError(f"no free port on {socket.gethostname()} from {_OPEN[0]} to {_OPEN[1]}")


def ephemeral_range() -> tuple[int, int]:
    """The kernel's ports for clients, first and last."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return 32768, 60999
    return int(low), int(high)


def _tasks_of(text: str) -> list[int]:
    """Tasks of each node, from Slurm's short form: "2(x3),1" → 2, 2, 2, 1."""
    tasks: list[int] = []
    for part in text.split(","):
        count, _, times = part.partition("(x")
        tasks += [int(count)] * int(times.rstrip(")") or 1)
    return tasks
