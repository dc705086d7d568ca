"""What the cluster promises to the tests that use it, and what Slurm does to a job on it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from .cluster import Cluster, ClusterError, Config
from .processes import command_name, state, wait_for
from .release import of_gpus, quick

ROOT = Path(__file__).resolve().parents[2]
MakeCluster = Callable[..., Cluster]


@pytest.fixture
def clean(cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster, put in order afterwards."""
    yield cluster
    cluster.reset()


def submit(cluster: Cluster, folder: Path, script: str, *options: str) -> str:
    """Sbatch a script whose output goes to folder/out; return the job's id."""
    file = folder / "job.sh"
    file.write_text(f"#!/bin/bash\n{script}\n")
    output = f"--output={folder}/out"
    return cluster.run("sbatch", "--parsable", "--open-mode=append", output, *options, file).stdout.strip()


def output(folder: Path) -> str:
    file = folder / "out"
    return file.read_text() if file.exists() else ""


# -- coming and going -------------------------------------------------------------


def test_up_again_changes_nothing(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    assert cluster.states() == {"n1": "idle", "n2": "idle", "n3": "idle"}
    before = {pid for pid in cluster.pids() if command_name(pid) in {"slurmctld", "slurmd", "munged"}}
    cluster.up()
    assert before <= cluster.pids()
    assert len(before) == 5
    with pytest.raises(ClusterError, match="another cluster"):
        Cluster(Config(cluster.folder, nodes=2)).up()


def test_down_ends_jobs_that_refuse_and_their_strays(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1)
    submit(cluster, tmp_path, "trap '' TERM; setsid sleep 997 & sleep 998; sleep 999")
    wait_for(lambda: len(cluster.tasks("n1")) == 3, 10, "the job, its child and its stray")
    mine = cluster.pids()
    names = {command_name(pid) for pid in mine}
    assert {"slurmctld", "slurmd", "slurmstepd", "munged", "sleep"} <= names
    cluster.down()
    assert {state(pid) for pid in mine} <= {"", "Z", "X"}
    assert not cluster.folder.exists()


def test_a_killed_user_takes_the_cluster_along(cluster: Cluster) -> None:
    folder = cluster.folder.with_name(f"{cluster.folder.name}-k")
    code = (
        "import pathlib, time; from tests.slurm.cluster import Cluster, Config\n"
        f"with Cluster(Config(pathlib.Path({str(folder)!r}), nodes=1)): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
        mine = Cluster(Config(folder)).pids()
        user.kill()
    assert mine
    wait_for(lambda: {state(pid) for pid in mine} <= {"", "Z", "X"} and not folder.exists(), 10, "all gone")


def test_two_clusters_side_by_side(clean: Cluster, make_cluster: MakeCluster, tmp_path: Path) -> None:
    other = make_cluster(nodes=1)
    jobs = {}
    for name, each in (("first", clean), ("second", other)):
        (tmp_path / name).mkdir()
        jobs[name] = submit(each, tmp_path / name, "sleep 60", "--nodelist=n1", f"--job-name={name}")
    wait_for(lambda: clean.tasks("n1") and other.tasks("n1"), 10, "a job on each n1")
    assert not clean.pids() & other.pids()
    assert clean.job(jobs["first"])["JobName"] == "first"
    other.down()
    assert clean.job(jobs["first"])["JobState"] == "RUNNING"
    assert clean.tasks("n1")


def test_nothing_listens_beyond_loopback(clean: Cluster, tmp_path: Path) -> None:
    submit(clean, tmp_path, "srun sleep 60", "--nodes=2", "--ntasks=2")  # srun and slurmstepd listen as well
    wait_for(lambda: clean.tasks(1) and clean.tasks(2), 10, "a step on two nodes")
    found = listening(clean.pids())
    assert len(found) >= 4 + 1  # slurmctld, three slurmd, srun
    assert all(address.is_loopback for address in found), found


def listening(pids: set[int]) -> list[IPv4Address | IPv6Address]:
    """The addresses on which any of `pids` accepts TCP connections, one for each socket."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # ended meanwhile
            sockets |= {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
    found = []
    for table in ("tcp", "tcp6"):
        file = Path(f"/proc/net/{table}")
        for line in file.read_text().splitlines()[1:] if file.exists() else []:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                # Words of 32 bits in the machine's byte order.
                words = re.findall("........", fields[1].partition(":")[0])
                packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
                found.append(ip_address(packed))
    return found


# -- jobs ---------------------------------------------------------------------------


def test_a_step_on_two_nodes_sees_the_nodes_names_and_addresses(cluster: Cluster) -> None:
    code = "import socket; print(socket.gethostname(), socket.gethostbyname('n3'))"
    srun = cluster.run("srun", "--nodes=2", "--ntasks-per-node=1", "/usr/bin/env", "python3", "-c", code)
    assert sorted(srun.stdout.splitlines()) == ["n1 127.0.0.1", "n2 127.0.0.1"]


def test_fake_gpus(cluster: Cluster) -> None:
    def visible(*options: str) -> list[str]:
        return sorted(cluster.run("srun", *options, "printenv", "CUDA_VISIBLE_DEVICES").stdout.splitlines())

    assert visible("--gpus-per-node=2") == ["0,1"]
    assert visible("--gpus-per-node=1", "--nodes=2") == ["0", "0"]
    assert "CUDA_VISIBLE_DEVICES" not in cluster.run("srun", "printenv", check=False).stdout
    with pytest.raises(ClusterError, match="not available"):
        cluster.run("srun", "--gpus-per-node=3", "true")


def test_job_fields(clean: Cluster, tmp_path: Path) -> None:
    job = submit(clean, tmp_path, "sleep 60", "--job-name=two words", "--comment=a=b", "--gpus-per-node=1")
    fields = clean.wait_job(job, "RUNNING")
    assert (fields["JobId"], fields["JobName"], fields["Comment"]) == (job, "two words", "a=b")
    assert (fields["NumNodes"], fields["Restarts"], fields["StdOut"]) == ("1", "0", f"{tmp_path}/out")
    assert fields["TresPerNode"] == of_gpus(1)
    with pytest.raises(TimeoutError, match=r"RUNNING .* not \['COMPLETED'\]"):
        clean.wait_job(job, "COMPLETED", timeout=0.3)
    with pytest.raises(ClusterError, match="Invalid job id"):
        clean.job(int(job) + 1000)


def test_requeue_counts_restarts(clean: Cluster, tmp_path: Path) -> None:
    script = 'echo "restart ${SLURM_RESTART_COUNT-none}"; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60'
    job = submit(clean, tmp_path, script, "--requeue")
    wait_for(lambda: clean.tasks("n1"), 10, "the first attempt")
    begin = time.monotonic()
    clean.run("scontrol", "requeue", job)
    fields = clean.wait_job(job, "COMPLETED")
    assert time.monotonic() - begin > 4
    assert fields["Restarts"] == "1"
    assert re.findall("restart .*", output(tmp_path)) == ["restart none", "restart 1"]


def test_preemption_warns_waits_and_requeues(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(nodes=1, grace=3, kill_wait=2)
    # The task outlives the warning, as a checkpoint does, and leaves at the end of the grace.
    task = "trap 'echo TERM; (( ++n < 2 )) || exit 1' TERM; echo ready; while :; do sleep 0.1; done"
    low = submit(cluster, tmp_path, f'srun bash -c "{task}"', "--requeue", "--exclusive")
    wait_for(lambda: "ready" in output(tmp_path), 10, "the task")
    begin = time.monotonic()
    high = cluster.run("sbatch", "--parsable", "--partition=high", "--exclusive", "--output=/dev/null",
                       "--wrap=sleep 60").stdout.strip()  # fmt: skip
    wait_for(lambda: "TERM" in output(tmp_path), 10, "the warning")
    assert cluster.job(low)["JobState"] == "RUNNING"
    assert cluster.job(low)["PreemptTime"] not in {"None", "Unknown"}
    cluster.wait_job(high, "RUNNING")
    assert time.monotonic() - begin >= 3
    assert cluster.wait_job(low, "PENDING")["Restarts"] == "1"


def test_accounting_remembers_jobs(accounting_cluster: Cluster, tmp_path: Path) -> None:
    done = submit(accounting_cluster, tmp_path, "exit 0", "--job-name=done")
    failed = submit(accounting_cluster, tmp_path, "exit 3", "--job-name=failed")
    fields = "--format=JobID,JobName,State,ExitCode"
    sacct = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={done},{failed}", fields)
    want = [f"{done}|done|COMPLETED|0:0", f"{failed}|failed|FAILED|3:0"]
    # The controller hands its records over every few seconds.
    wait_for(lambda: accounting_cluster.run(*sacct).stdout.split() == want, 20, f"sacct says {want}", every=0.3)
    accounting_cluster.wait_job(done, "COMPLETED")


# -- mishaps to order ---------------------------------------------------------------


def test_freeze_and_thaw(clean: Cluster, tmp_path: Path) -> None:
    submit(clean, tmp_path, "while :; do sleep 0.01; done", "--nodelist=n2")
    wait_for(lambda: clean.tasks("n2"), 10, "the job")
    clean.freeze_node("n2")
    frozen = clean.node("n2").pids()
    assert {"slurmd", "slurmstepd"} <= {command_name(pid) for pid in frozen}
    wait_for(lambda: {state(pid) for pid in frozen} == {"T"}, 2, "all stopped")
    assert "T" not in {state(pid) for pid in clean.node("n1").pids()}
    clean.thaw_node("n2")
    wait_for(lambda: "T" not in {state(pid) for pid in clean.node("n2").pids()}, 2, "all thawed")
    with pytest.raises(ValueError, match="no node 'n4'"):
        clean.freeze_node(4)


def test_a_lost_node_requeues_its_job(make_cluster: MakeCluster, tmp_path: Path) -> None:
    # The controller tries to reach a node for MessageTimeout before slurmd_timeout counts: 10 s unless told.
    cluster = make_cluster(nodes=1, **quick())
    job = submit(cluster, tmp_path, "sleep 60", "--requeue")
    wait_for(lambda: cluster.tasks("n1"), 10, "the job")
    cluster.kill_node("n1")
    assert not cluster.node("n1").pids()
    assert cluster.wait_job(job, "PENDING")["Restarts"] == "1"
    assert cluster.states()["n1"].startswith("down")
    cluster.start_node("n1")
    assert cluster.ready()


def test_restarted_controller_keeps_the_job(clean: Cluster, tmp_path: Path) -> None:
    job = submit(clean, tmp_path, "sleep 60", "--nodelist=n1")
    wait_for(lambda: len(clean.tasks("n1")) == 2, 10, "the job's shell and its child")
    before = [pid for pid in clean.pids() if command_name(pid) == "slurmctld"]
    tasks = clean.tasks("n1")
    clean.restart_controller()
    after = [pid for pid in clean.pids() if command_name(pid) == "slurmctld"]
    assert (len(before), len(after)) == (1, 1)
    assert before != after
    assert clean.job(job)["JobState"] == "RUNNING"
    assert clean.tasks("n1") == tasks
