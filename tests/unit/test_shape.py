"""GPUs and tasks agree, in whichever of Slurm's ways they are asked for; or the plan says what to change."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.config import Config
from golang.engine import doorway
from golang.engine.rank import pick_device
from golang.errors import ConfigError
from golang.world import World
from launch.planning import show
from launch.settings import Cluster, Launch
from launch.sweep.folder import Plan, Planned
from tests.unit.test_launch import script


def cluster(**values: object) -> Cluster:
    return Launch.from_dict({"cluster": {"name": "slurm", **values}}).cluster


def plan(cluster: Cluster, device: str) -> Plan:
    run = Planned("a6cec0e8", Config.from_dict({"device": device}), (), cluster, Path("/runs/x-a6cec0e8"))
    return Plan(Path("/runs"), (), (run,))


@pytest.mark.parametrize(
    ("values", "tasks", "gpus"),
    [
        ({}, 1, None),
        ({"tasks_per_node": 3}, 3, None),
        ({"gpus_per_node": 4}, 4, 4),
        ({"gpus_per_node": "a100:4"}, 4, 4),
        ({"gpus_per_node": "a100:2,v100:1"}, 3, 3),
        ({"gpus_per_node": 2, "gpus_per_task": 1}, 2, 2),
        ({"gpus_per_task": "a100:1"}, 1, 1),
        ({"gpus_per_task": 1, "tasks_per_node": 3}, 3, 3),
        ({"gres": "gpu"}, 1, 1),
        ({"gres": "gpu:a100"}, 1, 1),
        ({"gres": "gpu:4"}, 4, 4),
        ({"gres": "gpu:a100:8,fs:1"}, 8, 8),
        ({"gres": "gpu:a100:2,gpu:v100:1"}, 3, 3),
        ({"gres": "gpu:1g.5gb:2"}, 2, 2),
        ({"gres": "shard:8"}, 1, 1),
        ({"gres": "gpu:0"}, 1, None),
        ({"gres": "fs:2"}, 1, None),
        ({"extra": {"gpus": 4}}, 4, 4),
        ({"extra": {"gpus": "a100:4"}, "nodes": 2}, 2, 2),
        ({"extra": {"gpus-per-socket": 2, "sockets-per-node": 2}}, 4, 4),
        ({"extra": {"tres-per-task": "cpu:4,gres/gpu:1"}, "tasks_per_node": 4}, 4, 4),
        ({"extra": {"tres-per-task": "gres:gpu:1"}, "gres": "gpu:2"}, 2, 2),
        ({"extra": {"tres-per-task": "cpu:4"}}, 1, None),
        ({"extra": {"tres-per-node": "gres/gpu=3"}}, 3, 3),
        ({"extra": {"tres-per-job": "gres/gpu:a100:6"}, "nodes": 2}, 3, 3),
        ({"extra": {"ntasks-per-gpu": 1}, "gpus_per_node": 2}, 2, 2),
        ({"extra": {"ntasks-per-gpu": 1, "ntasks": 4}, "nodes": 2}, 2, 2),
        ({"extra": {"ntasks": 8}, "nodes": 2}, 4, None),
        ({"extra": {"ntasks": 8}, "nodes": 2, "gpus_per_node": 4}, 4, 4),
        ({"extra": {"ntasks-per-node": None}, "nodes": 2}, 1, None),
        ({"gpus_per_node": 4, "extra": {"gpus": 8, "cpus-per-gpu": 6}, "nodes": 2, "mem_per_gpu": "9G"}, 4, 4),
    ],
)
def test_tasks_follow(values: dict, tasks: int, gpus: int | None) -> None:
    shape = cluster(**values).shape
    assert (shape.tasks, shape.gpus) == (tasks, gpus)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gpus_per_node": 4, "tasks_per_node": 1}, r"gpus_per_node=4 .*tasks_per_node=1 .*the others would be idle"),
        ({"gpus_per_node": 2, "tasks_per_node": 4}, r"there are too few: leave out cluster.tasks_per_node"),
        ({"gres": "shard:4", "tasks_per_node": 2}, r"cluster.gres=shard:4 is 1 GPU a node"),
        ({"gpus_per_task": 2}, r"cluster.gpus_per_task=2: a task uses one GPU"),
        ({"extra": {"tres-per-task": "gres/gpu:2"}}, r"cluster.extra.tres-per-task=gres/gpu:2: a task uses one GPU"),
        ({"extra": {"ntasks-per-gpu": 2}, "gpus_per_node": 1}, r"ntasks-per-gpu=2: a task uses one GPU, and no other"),
        ({"extra": {"ntasks-per-gpu": 1}}, r"does not say of how many GPUs; add cluster.gpus_per_node=NUMBER"),
        ({"gpus_per_node": 4, "gres": "gpu:2"}, r"gpus_per_node=4 and cluster.gres=gpu:2 ask for a node's GPUs twice"),
        ({"gpus_per_node": 2, "gres": "gpu:2"}, r"leave one of them out"),
        ({"gpus_per_node": 4, "extra": {"gpus": 4}, "nodes": 2}, r"extra.gpus=4 ask for different numbers \(4 and 2 a"),
        ({"extra": {"gpus": 5}, "nodes": 2}, r"gpus=5 does not divide by cluster.nodes=2.* ask for 4"),
        ({"extra": {"gpus": 1}, "nodes": 2}, r"ask for 2, or for another number of nodes"),
        ({"extra": {"gpus-per-socket": 2}}, r"needs cluster.extra.sockets-per-node=NUMBER"),
        ({"extra": {"ntasks": 8}, "tasks_per_node": 2, "nodes": 2}, r"tasks_per_node=2 and cluster.extra.ntasks=8"),
        ({"extra": {"ntasks": 8}, "gpus_per_node": 2, "nodes": 2}, r"leave out cluster.extra.ntasks, as tasks follow"),
        ({"extra": {"ntasks": 7}, "nodes": 2}, r"ntasks=7 does not divide by cluster.nodes=2"),
        ({"extra": {"ntasks": "many"}}, r"cluster.extra.ntasks=many must be a number of tasks"),
        ({"extra": {"ntasks-per-node": None}, "gpus_per_node": 2, "nodes": 2}, r"cluster.extra.ntasks=4 says it in"),
        ({"extra": {"ntasks-per-node": 2}}, r"see cluster.tasks_per_node, or leave it out with null"),
        ({"extra": {"gpus-per-node": 2}}, r"sets --gpus-per-node itself; see cluster.gpus_per_node"),
        ({"extra": {"mail-type": None}}, r"cluster.extra.mail-type=null: leave it out"),
    ],
)
def test_idle_and_missing_gpus_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        cluster(**values)


@pytest.mark.parametrize(
    ("values", "device", "words"),
    [
        ({"gpus_per_node": 2}, "auto", ""),
        ({"gpus_per_node": 2}, "cpu", "device=cpu uses none of the job's GPUs, 2 a node"),
        ({"exclusive": True}, "auto", "cluster.exclusive=true gives the job all GPUs of its nodes"),
        ({"exclusive": True, "gpus_per_node": 8}, "auto", ""),
        ({"exclusive": True}, "cpu", ""),
    ],
)
def test_a_dry_run_tells_of_idle_gpus(
    values: dict, device: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show.plan(plan(cluster(**values), device), "")
    said = capsys.readouterr().out
    assert words in said and ("GPUs" in said) == bool(words)


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({"gpus_per_task": 1, "tasks_per_node": 4}, True),
        ({"gpus_per_task": 1, "tasks_per_node": 4, "extra": {"gpu-bind": "none"}}, False),
        ({"gpus_per_task": 1}, False),
        ({"gpus_per_node": 4, "extra": {"ntasks-per-gpu": 1}}, True),
        ({"gpus_per_node": 4}, False),
    ],
)
def test_gpus_that_are_hidden_from_each_other(values: dict, warned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    show.plan(plan(cluster(**values), "auto"), "")
    assert ("use cluster.gpus_per_node alone, or add cluster.extra.gpu-bind=none" in capsys.readouterr().out) == warned


@pytest.mark.parametrize(
    ("extra", "options", "words"),
    [
        ({"ntasks": "16"}, ["#SBATCH --ntasks=16"], "--ntasks=16 --ntasks-per-node=4"),
        ({"ntasks-per-gpu": "1"}, ["#SBATCH --ntasks-per-gpu=1"], "--ntasks=16"),
        ({"ntasks": "16", "ntasks-per-node": None}, ["#SBATCH --ntasks=16"], "--ntasks=16 --ntasks-per-node=4"),
    ],
)
def test_a_site_that_forbids_tasks_per_node(extra: dict[str, str | None], options: list[str], words: str) -> None:
    own = replace(script(), cluster=replace(script().cluster, extra=extra))
    lines = own.for_run(Path("/runs/grid/x-a6cec0e8"), "s").splitlines()
    assert [line for line in lines if line.startswith("#SBATCH --ntasks")] == options
    assert f"--export=ALL {words} --cpus-per-task=12 " in lines[-1]
    assert "ntasks-per-node" not in next(line for line in lines if line.startswith("OPTIONS="))


def test_the_gpus_of_a_job_are_divided_evenly() -> None:
    own = replace(script(), cluster=replace(script().cluster, gpus_per_node=None, extra={"gpus": "a100:8"}))
    options = own.options("s", "log")
    assert (options["gpus"], options["gpus-per-node"], options["ntasks-per-node"]) == ("a100:8", "a100:2", "2")


def test_a_dry_run_tells_of_gpus_that_the_shell_asks_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_GPUS", "4")
    show.plan(plan(cluster(), "auto"), "")
    assert "SBATCH_GPUS=4 in this shell gives the job GPUs that tasks do not follow" in capsys.readouterr().out
    show.plan(plan(cluster(gpus_per_node=4), "auto"), "")
    assert "SBATCH_GPUS" not in capsys.readouterr().out


def test_a_rank_tells_of_idle_gpus(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Which a site, the shell's SBATCH_GPUS or a whole node gave to the job."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for launcher, tasks, said in (("slurm", 1, True), ("slurm", 4, False), ("torchrun", 1, False)):
        caplog.clear()
        world = World(size=tasks, local_size=tasks, launcher=launcher)
        doorway._advise_of_idle_gpus(world, torch.device("cuda", 0))
        assert ("of the 4 GPUs that are visible here, tasks use 1, one each" in caplog.text) == said
        assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_job_whose_gpus_torch_does_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto").type == "cpu"
    monkeypatch.setenv("SLURM_STEP_GPUS", "0,1")
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match=r"gave this job GPU 0,1, but torch sees none.*device=cpu trains without"):
        pick_device("auto")
