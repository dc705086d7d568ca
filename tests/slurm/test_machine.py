"""Where a cluster runs, and what it says where it cannot: other users, other folders, other people's processes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .__main__ import main
from .cluster import Cluster, ClusterError, Config, missing_packages
from .processes import command_name, state

ROOT = Path(__file__).resolve().parents[2]


def test_without_namespaces_the_error_says_what_to_allow(cluster: Cluster) -> None:
    # A user namespace in which the kernel grants no further ones.
    forbid = "for kind in user mnt uts; do echo 0 > /proc/sys/user/max_${kind}_namespaces; done"
    folder = cluster.folder.with_name(f"{cluster.folder.name}-u")
    up = f"{sys.executable} -m tests.slurm up --folder {folder}"
    unshare = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", f"{forbid}; exec {up}"]
    done = subprocess.run(unshare, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"error: virtual nodes need mount and UTS namespaces, which .* Remedy: ", done.stderr)
    assert not folder.exists()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    assert missing_packages() == []
    monkeypatch.setattr("shutil.which", lambda program, path: None if program in {"slurmd", "mariadbd"} else program)
    assert missing_packages() == ["slurmd"]
    assert missing_packages(accounting=True) == ["slurmd", "mariadb-server-core"]
    with pytest.raises(ClusterError, match="apt-get install -y --no-install-recommends slurmd "):
        cluster.up()


@pytest.mark.skipif(os.getuid() != 0, reason="not root: every test of this file is this one")
def test_without_root(cluster: Cluster) -> None:
    # This interpreter and this checkout may live where only root can go. Slurm 26.05 refuses the user nobody.
    pythons = [sys.executable, "/usr/bin/python3"]
    public = cluster.folder.with_name(f"{cluster.folder.name}-p")
    shutil.copytree(ROOT / "tests" / "slurm", public / "tests" / "slurm", ignore=shutil.ignore_patterns("test_*"))
    folder = cluster.folder.with_name(f"{cluster.folder.name}-n")

    def as_daemon(*argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, user="daemon", group="daemon", extra_groups=[], cwd=public, capture_output=True, text=True,
            env={**cluster.environment(), "PYTHONDONTWRITEBYTECODE": "1", **more}, timeout=60,
        )  # fmt: skip

    def slurm(command: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return as_daemon(python, "-m", "tests.slurm", command, f"--folder={folder}", *argv)

    def works(python: str) -> bool:
        with contextlib.suppress(PermissionError, FileNotFoundError):
            return as_daemon(python, "-c", "import tests.slurm.cluster").returncode == 0
        return False

    python = next(filter(works, pythons), "")
    if not python:
        pytest.skip(f"{' and '.join(pythons)}: user daemon may not run them")
    up = slurm("up", "--nodes=2")
    try:
        if as_daemon("unshare", "--map-current-user", "--keep-caps", "--mount", "true").returncode:
            assert "let users make namespaces" in up.stderr
            return
        assert up.returncode == 0, up.stderr
        conf = {"SLURM_CONF": f"{folder}/etc/slurm.conf"}
        srun = as_daemon("srun", "--nodes=2", "--gpus-per-node=1", "sh", "-c",
                         "echo $(hostname) $(id -un) $CUDA_VISIBLE_DEVICES", **conf)  # fmt: skip
        assert sorted(srun.stdout.splitlines()) == ["n1 daemon 0", "n2 daemon 0"], srun.stderr
        mine = Cluster(Config(folder)).pids()
        assert {command_name(pid) for pid in mine} >= {"munged", "slurmctld", "slurmscriptd", "slurmd"}
    finally:
        down = slurm("down")
        shutil.rmtree(public)
    assert down.returncode == 0, down.stderr
    assert not folder.exists()
    assert {state(pid) for pid in mine} <= {"", "Z", "X"}


def test_signals_reach_only_the_boxs_own(cluster: Cluster) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        cluster.node("n1").signal(signal.SIGKILL, [bystander.pid])
        time.sleep(0.1)
        assert bystander.poll() is None
        bystander.kill()


def test_folders_of_others_are_left_alone(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cluster.folder.with_name(f"{cluster.folder.name}-o")
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "slurm.conf").write_text("precious")
    try:
        for command, said in (("up", "holds no cluster"), ("down", "no cluster ran"), ("status", "no cluster runs")):
            main([command, f"--folder={folder}"])
            assert said in "".join(capsys.readouterr())
            assert [file.read_text() for file in folder.rglob("*") if file.is_file()] == ["precious"]
    finally:
        shutil.rmtree(folder)
    with pytest.raises(ClusterError, match="too long for the sockets"):
        Config(tmp_path / ("x" * 80))


def test_status_of_a_running_cluster(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", f"--folder={cluster.folder}"]) == 0
    said = capsys.readouterr().out
    assert f"export SLURM_CONF={cluster.folder}/etc/slurm.conf" in said
    assert re.search(r"^n3 .* idle ", said, re.MULTILINE)
