"""Ranks that join and leave: over networks as they are, with peers that never come, are gone, or are asked to stop."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import HashStore

from golang import exits
from golang.config import Config
from golang.engine import distributed
from golang.engine.doorway import advise
from golang.world import World, addresses, free_port, interfaces, local_address, loopback

ROOT = Path(__file__).resolve().parents[2]
RANK = """
import logging, sys, torch
from golang.config import Config
from golang.engine import rank as ranks
from golang.engine import stops, watchdog
from golang.world import World

logging.basicConfig(stream=sys.stderr)
ranks.APART, watchdog.LINGER, stops.JOINING = 1.0, 0.1, 0.5
number, size, nodes, address, port, hang = sys.argv[1:]
world = World(int(number), int(size), 0, int(size) // int(nodes), int(nodes), address, int(port))
connect = ranks.connect
ranks.connect = lambda *arguments: (print("joining", flush=True), connect(*arguments))
with ranks.join(Config.from_dict({"device": "cpu", "hang_seconds": float(hang)}), world) as rank:
    print("mean", float(rank.control.mean(torch.tensor(float(number)))), rank.listener.signal, flush=True)
"""


def command(rank: int, size: int, nodes: int, address: str, port: int, hang: float = 2.0) -> list[str]:
    return [sys.executable, "-c", RANK, *map(str, (rank, size, nodes, address, port, hang))]


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        arguments, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


NODE = """
hostname "$1" && mount --bind "$2" /etc/hosts && ip link set lo up && echo ready && read -r _ && shift 2 && exec "$@"
"""


root = pytest.mark.skipif(os.geteuid() != 0, reason="a network of one's own needs root")


@root
@pytest.mark.parametrize("addresses", [("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")])
def test_nodes_whose_own_name_is_127_0_1_1(addresses: Sequence[str], tmp_path: Path) -> None:
    """As Debian has it, and the other's may be of IPv6 alone. gloo listens at the address of its own name."""
    port, nodes = 29555, ("node0", "node1")
    with contextlib.ExitStack() as stack:
        processes = []
        for rank, name in enumerate(nodes):
            hosts = tmp_path / name
            hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n{addresses[1 - rank]} {nodes[1 - rank]}\n")
            node = ["unshare", "--net", "--mount", "--uts", "--", "sh", "-c", NODE, "sh", name, str(hosts)]
            processes.append(stack.enter_context(started(*node, *command(rank, 2, 2, "node0", port, hang=20.0))))
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        ends = [["name", f"go{rank}", "netns", str(process.pid)] for rank, process in enumerate(processes)]
        subprocess.run(["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]], check=True)
        for rank, process in enumerate(processes):
            address = f"{addresses[rank]}/{64 if ':' in addresses[rank] else 24}"
            for words in (
                ["addr", "add", address, "dev", f"go{rank}", *(["nodad"] if ":" in address else [])],
                ["link", "set", f"go{rank}", "up"],
            ):
                subprocess.run(["nsenter", "--net", "--target", str(process.pid), "ip", *words], check=True)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.communicate(timeout=150) for process in processes]
    assert [out for out, _ in said] == ["joining\nmean 0.5 0\n"] * 2, said


DROPPED = """
ip link add go1 type veth peer name go0 && ip addr add 10.77.0.2/24 dev go1 && ip link set go0 up &&
ip link set go1 up && ip neigh add 10.77.0.1 lladdr 02:00:00:00:00:77 dev go1 && exec "$@"
"""


@root
def test_a_firewall_that_drops_what_is_sent_to_rank_0() -> None:
    """It goes out, and nobody answers."""
    began = time.monotonic()
    node = ["unshare", "--net", "--", "sh", "-c", DROPPED, "sh"]
    with started(*node, *command(1, 2, 2, "10.77.0.1", 29555)) as process:
        _, said = process.communicate(timeout=150)
    assert process.returncode == exits.HUNG and time.monotonic() - began < 120
    here = f"rank 1 of 2 on {socket.gethostname()}"
    assert f"{here}: no progress for 2 s while joining the other ranks by way of 10.77.0.1, port 29555; GLOO" in said
    assert "GLOO_SOCKET_IFNAME=NAME" in said and "GOLANG_PORTS=FIRST-LAST" in said


def test_the_network_that_leads_to_a_host() -> None:
    assert interfaces()["127.0.0.1"] == "lo" and interfaces().get(local_address("127.0.0.1")) == "lo"
    assert loopback(local_address("localhost")) and loopback("") and not loopback("192.0.2.7")
    assert local_address("no-such-host.invalid") == "" and addresses("no-such-host.invalid") == []
    assert interfaces()[local_address("::1")] == "lo" and loopback(local_address("::1"))


@pytest.mark.parametrize("theirs", [{}, {"GLOO_SOCKET_IFNAME": "ib0", "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": "90"}])
def test_the_watchdog_has_the_last_word_but_for_what_a_person_sets(
    theirs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    distributed._set_up_transports(World(address="127.0.0.1", size=2), HashStore())
    assert os.environ["GLOO_SOCKET_IFNAME"] == theirs.get("GLOO_SOCKET_IFNAME", "lo")
    beyond = int(os.environ["TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC"]) > 100 * Config().hang_seconds
    assert beyond != bool(theirs) and distributed.PATIENCE.total_seconds() > 100 * Config().hang_seconds


def test_a_peer_that_never_comes() -> None:
    began = time.monotonic()
    with started(*command(0, 2, 1, "localhost", free_port())) as process:
        _, said = process.communicate(timeout=150)
    assert process.returncode == exits.HUNG and time.monotonic() - began < 120
    assert "no progress for 2 s while joining the other ranks by way of localhost (127.0.0.1), port " in said
    assert "golang/engine/distributed.py" in said and "in connect" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_a_silent_rank_0_is_waited_for(number: int) -> None:
    """It takes the connection and never says a word."""
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    with silent, started(*command(1, 2, 1, "127.0.0.1", port, hang=60.0)) as process:
        assert process.stdout is not None and process.stdout.readline() == "joining\n"
        silent.accept()
        process.send_signal(number)
        assert process.wait(150) == exits.STOPPED


def test_a_stop_that_comes_while_ranks_join_is_agreed_on() -> None:
    """A warning of the time limit: there is time to get to the peers, and to stop with them."""
    port = free_port()
    with started(*command(0, 2, 1, "127.0.0.1", port, hang=60.0)) as first:
        assert first.stdout is not None and first.stdout.readline() == "joining\n"
        first.send_signal(signal.SIGUSR2)
        time.sleep(1)
        with started(*command(1, 2, 1, "127.0.0.1", port, hang=60.0)) as second:
            assert first.communicate(timeout=150)[0] == f"mean 0.5 {signal.SIGUSR2}\n"
            assert second.wait(150) == 0


class Group:
    """Of NCCL: what its abort frees may wait for the kernels of others."""

    def __init__(self, together: threading.Barrier, aborts: bool = True) -> None:
        self.together, self.aborts = together, aborts

    def abort(self) -> None:
        self.together.wait(30)
        if not self.aborts:
            time.sleep(60)


@pytest.mark.parametrize("aborts", [True, False])
def test_a_rank_that_failed_aborts_all_groups_at_once(aborts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a farewell, which would wait for its peers, and without waiting for an abort that hangs."""
    left: list[str] = []
    together = threading.Barrier(2)
    nccl = SimpleNamespace(
        is_initialized=lambda: True, get_backend=lambda group: "nccl", group=SimpleNamespace(WORLD=Group(together)),
        destroy_process_group=lambda: left.append("destroyed"),
    )  # fmt: skip
    monkeypatch.setattr(distributed, "dist", nccl)
    monkeypatch.setattr(distributed, "_groups", [Group(together, aborts)])
    monkeypatch.setattr(distributed, "ABORT", 0.5)
    began = time.monotonic()
    distributed.leave(failed=True)
    assert time.monotonic() - began < 30 and not together.broken
    assert left == (["destroyed"] if aborts else [])


@pytest.mark.parametrize(
    ("launcher", "cores", "device", "words"),
    [
        ("slurm", 1, "cpu", "1 cores for 9 processes.*cluster.cpus_per_task=9 gives a core to each, data.workers=1"),
        ("torchrun", 32, "cuda", "32 cores for 72 processes.*data.workers=3 asks for fewer"),
        ("slurm", 9, "cuda", ""),
        ("", 1, "cpu", "1 cores for 72 processes, data.workers=8 .*data.workers=1 asks for fewer"),
        ("", 64, "cpu", ""),
    ],
)
def test_cores_that_loader_processes_will_share(
    launcher: str,
    cores: int,
    device: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    config = Config.from_dict({"data": {"workers": 8}, "optim": {"batch_size": 512}})
    with caplog.at_level("INFO", "golang"):
        advise(config, World(0, 8, 0, 8, launcher=launcher), torch.device(device))  # type: ignore[arg-type]
        advise(config, World(1, 8, 1, 8, launcher=launcher), torch.device(device))  # type: ignore[arg-type]
    assert len(caplog.records) == bool(words) and re.search(words, caplog.text)


@pytest.mark.parametrize(
    ("device", "size", "graphs", "said"),
    [("cuda", 8, False, True), ("cuda", 8, True, False), ("cuda", 4, False, False), ("cpu", 8, False, False)],
)
def test_few_images_a_gpu(
    device: str, size: int, graphs: bool, said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(200)))
    with caplog.at_level("INFO", "golang"):
        config = Config.from_dict({"optim": {"batch_size": 128}, "cuda_graphs": graphs})
        advise(config, World(0, size, 0, size), torch.device(device))
    assert ("optim.batch_size=128 over 8 GPUs is 16 images each" in caplog.text) == said
    assert all((word in caplog.text) == said for word in ("cuda_graphs=true", "optim.batch_size=512 (another run)"))
