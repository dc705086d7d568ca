"""Which rank a process is, and how ranks find each other."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from golang.errors import ConfigError, RendezvousError
from golang.runfolder.folder import RunFolder
from golang.world import PORTS, World, ephemeral_range, free_port, listen, tasks_of_nodes
from launch.node.rendezvous import meet


def test_tasks_of_every_node() -> None:
    assert tasks_of_nodes("2(x3),1") == [2, 2, 2, 1]
    assert tasks_of_nodes("4") == [4]


def test_ports_are_free_and_not_the_kernels() -> None:
    low, high = ephemeral_range()
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 15
    assert not any(low <= port <= high for port in ports)


def test_ports_that_a_firewall_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen() as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv(PORTS, f"{port}-{port}")
        with pytest.raises(RendezvousError, match=f"no free port on .* from {port} to {port}; GOLANG_PORTS=FIRST-LAST"):
            free_port()
    assert free_port() == port
    for wrong in ("20000", "0-9", "9-8", "1-65536", "a-b", "-"):
        monkeypatch.setenv(PORTS, wrong)
        with pytest.raises(ConfigError, match=f"GOLANG_PORTS='{wrong}' is no range of ports"):
            free_port()


def test_ranks_meet_and_never_by_an_older_attempts_file(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    step = {"SLURM_JOB_ID": "5", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3",
            "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_LOCALID": "0"}  # fmt: skip
    first = [World.of_task(step | {"SLURM_PROCID": str(rank), "SLURM_NODEID": "0"}) for rank in range(3)]
    second = [
        World.of_task(step | {"SLURM_PROCID": str(rank), "SLURM_NODEID": "1", "SLURM_RESTART_COUNT": "1"})
        for rank in range(3)
    ]
    assert (first[0].size, first[0].local_size, first[0].nodes) == (3, 2, 2) and second[1].local_size == 1
    run = RunFolder(tmp_path)
    old = meet(run, first[0])
    with pytest.raises(OSError, match="in use"), socket.create_server(("", old.port)):
        pass  # rank 0 listens there already
    os.close(old.listening)
    assert meet(run, first[1]) == replace(first[1], address=old.address, port=old.port)
    found: list[World] = []
    waiting = threading.Thread(target=lambda: found.append(meet(run, second[1])))
    waiting.start()
    waiting.join(0.3)
    assert found == []
    new = meet(run, second[0])
    os.close(new.listening)
    waiting.join(60)
    assert found == [replace(second[1], address=new.address, port=new.port)] and new.port != old.port
