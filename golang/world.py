"""Which rank this process is, among how many, and where rank 0 listens."""

from __future__ import annotations

import array
import contextlib
import fcntl
import ipaddress
import os
import random
import re
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from golang.errors import ConfigError, RendezvousError

PORTS = "GOLANG_PORTS"  # the variable, FIRST-LAST, of ports for rank 0 to listen at
_PORTS = (10000, 65535)  # where to look for a free one, but for those that the kernel hands out
_SIOCGIFCONF, _ENTRY, _MOST = 0x8912, 40, 256  # Linux: the request; bytes an interface's address takes; so many at most


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
    listening: int = -1  # on rank 0, the descriptor of a socket that listens there already; -1 without one
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
    """A TCP port that nothing listens on. Raises as `listen`."""
    with listen() as server:
        return int(server.getsockname()[1])


def listen(environ: Mapping[str, str] = os.environ) -> socket.socket:
    """Listens on all addresses, at a port of the range in the variable GOLANG_PORTS, else at one outside the range from
    which the kernel takes ports for clients. Raises ConfigError for a range that is none, RendezvousError if all are
    taken."""
    first, last = _PORTS
    kernels = range(0)
    if chosen := environ.get(PORTS):
        match = re.fullmatch(r"(\d+)-(\d+)", chosen)
        first, last = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 0 < first <= last <= 65535:
            raise ConfigError(f"{PORTS}={chosen!r} is no range of ports; {PORTS}=20000-20100 is one")
    else:
        low, high = ephemeral_range()
        kernels = range(low, high + 1)
    ports = [port for port in range(first, last + 1) if port not in kernels]
    generator = random.SystemRandom()  # another one for each attempt, even of the same job
    for port in generator.sample(ports, len(ports)):
        with contextlib.suppress(OSError):
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
    raise RendezvousError(
        f"no free port on {socket.gethostname()} from {first} to {last}; {PORTS}=FIRST-LAST chooses others"
    )


def ephemeral_range() -> tuple[int, int]:
    """The kernel's ports for clients, first and last."""
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return 32768, 60999
    return low, high


def addresses(host: str) -> list[str]:
    """The addresses of a name, IPv4 first, as gloo has them; none for a name that nobody knows."""
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        return [str(address[0]) for _, _, _, _, address in sorted(found, key=lambda each: each[0])]
    return []


def local_address(host: str) -> str:
    """This machine's address on the way to `host`, to which nothing is sent; "" if there is no way."""
    for address in addresses(host):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    return ""


def loopback(address: str) -> bool:
    """Whether an address, or "", leads nowhere but to this machine."""
    return not address or ipaddress.ip_address(address).is_loopback


def interfaces() -> dict[str, str]:
    """Address → network interface of this machine; of Linux alone."""
    if sys.platform != "linux":
        return {}
    room = array.array("B", bytes(_ENTRY * _MOST))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("iL", len(room), room.buffer_info()[0])
        size, _ = struct.unpack("iL", fcntl.ioctl(asked, _SIOCGIFCONF, request))
    entries = (room.tobytes()[start : start + _ENTRY] for start in range(0, size, _ENTRY))
    # 16 bytes of a name, "eth0:1" for a second address; 4 of family and port; the address.
    found = {socket.inet_ntoa(entry[20:24]): entry[:16].split(b"\0")[0].decode().partition(":")[0] for entry in entries}
    with contextlib.suppress(OSError):  # a kernel without IPv6
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, *_, name = line.split()
            found[socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))] = name
    return found


def _whole(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not value.isdecimal():
        raise ConfigError(f"the environment has {name}={value!r}; a whole number is needed to find this rank's peers")
    return int(value)
