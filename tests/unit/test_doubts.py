"""Settings that work, but hardly as they were meant: said before a run waits in a queue, and when it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from golang.config import Config
from golang.config.doubts import IMAGES, doubts, expected
from golang.data.readers.table import READERS
from golang.data.toy.write import write
from golang.runfolder import lock
from golang.runfolder.folder import RunFolder
from golang.runfolder.mounts import Mount
from launch.planning import show
from launch.settings import Launch
from launch.sweep.folder import Plan, Planned
from tests.resume.harness import here, settings

SMALL = {"optim": {"epochs": 10, "batch_size": 10, "freeze_iterations": 99}, "queue": {"length": 0}}


def test_the_numbers_of_images_are_the_readers() -> None:
    assert {name: reader.images["train"] for name, reader in READERS.items() if "train" in reader.images} == IMAGES
    assert expected(Config.from_dict({"data": {"name": "folder"}}).data) is None
    assert expected(Config.from_dict({"data": {"name": "toy", "toy": {"train": 7}}}).data) == 7


@pytest.mark.parametrize(
    ("changes", "images", "said"),
    [
        ({}, 100, []),
        ({"optim": {**SMALL["optim"], "freeze_iterations": 100}}, 100, ["freeze_iterations=100 is all of the run's 100 "
         "steps (10 epochs of 10), so its prototypes never learn; optim.freeze_iterations=2 "]),
        ({"optim": {**SMALL["optim"], "freeze_iterations": 100}}, None, []),
        ({"optim": {**SMALL["optim"], "freeze_iterations": 100}}, 110, []),
        ({"queue": {"length": 10, "start_epoch": 10}}, None, ["queue.start_epoch=10 is not below optim.epochs=10"]),
        ({"queue": {"length": 10, "start_epoch": 9}}, 100, []),
        ({"queue": {"length": 0, "start_epoch": 10}}, 100, []),
        ({"queue": {"length": 110, "start_epoch": 9}}, 100, ["queue.length=110 is more than the run brings after"]),
        ({"queue": {"length": 90, "start_epoch": 9}}, 100, []),
        ({"queue": {"length": 0, "local_length": 10 * 32, "start_epoch": 11}}, 100, ["queue.local_length=320 never"]),
        ({"queue": {"length": 10, "start_epoch": 10}, "evaluation": {"checkpoint": "x"}}, 100, []),
    ],
)  # fmt: skip
def test_what_never_comes_to_work(changes: dict, images: int | None, said: list[str]) -> None:
    found = list(doubts(Config.from_dict(SMALL | changes), images))
    assert len(found) == len(said) and all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_the_published_recipe_is_in_no_doubt() -> None:
    config = Config()
    assert list(doubts(config, expected(config.data))) == []


def shown(capsys: pytest.CaptureFixture[str], cluster: dict, *changes: dict) -> str:
    launch = Launch.from_dict({"cluster": cluster})
    runs = [
        Planned(f"{number:08x}", Config.from_dict(change), (), launch.cluster, Path(f"/runs/x-{number:08x}"))
        for number, change in enumerate(changes)
    ]
    show.plan(Plan(Path("/runs"), (), tuple(runs)), "")
    return capsys.readouterr().out


def test_a_dry_run_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The published freeze on VOC, whose 100 epochs have fewer steps; once, locks that other machines don't see."""
    voc = [{"data": {"name": "voc2012"}, "optim": {"epochs": epochs}} for epochs in (100, 100, 400)]
    said = shown(capsys, {"name": "slurm"}, *voc)
    assert "2 of 3 runs, such as the first: optim.freeze_iterations=5005 is all of the run's 4400 steps" in said
    assert "\nqueue" not in said and "\ndata" not in said and "mounted with" not in said
    monkeypatch.setattr(lock, "file_system", lambda folder: Mount("lustre", "/runs", ("rw", "localflock")))
    late = {"queue": {"start_epoch": 9, "local_length": 4096}, "optim": {"epochs": 9}}
    said = shown(capsys, {"name": "slurm"}, late)
    assert said.count("\nqueue.start_epoch=9 is not below optim.epochs=") == 1
    assert said.count("\n/runs is on lustre at /runs, mounted with localflock: ") == 1


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"name": "slurm"}, ""),
        ({"name": "slurm", "cpus_per_task": 8}, ""),
        ({"name": "slurm", "cpus_per_task": 4}, "data.workers=8 asks for 8 loader processes, and "
         "cluster.cpus_per_task=4 has 4 cores for them: steps may wait for images; data.workers=3 asks for fewer, "
         "cluster.cpus_per_task=9 gives a core to each"),
        ({"name": "local", "tasks_per_node": 2}, "data.workers=8 asks for 16 loader processes, and this machine has 12 "
         "cores for them: steps may wait for images; data.workers=5 asks for fewer"),
        ({"name": "local"}, ""),
    ],
)  # fmt: skip
def test_loaders_that_share_cores(
    cluster: dict, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    found = shown(capsys, cluster, {"data": {"workers": 8}})
    assert said in found and ("loader processes" in found) == bool(said)


def test_a_run_says_so_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "file_system", lambda folder: Mount("lustre", "/runs", ("rw", "localflock")))
    config = settings(tmp_path / "toy", data={"workers": 0}, optim={"epochs": 1})
    write(tmp_path / "toy", config.data.toy, workers=1)
    assert here(config, tmp_path / "run") == 0
    attempt = RunFolder(tmp_path / "run").last_attempt()
    assert attempt is not None
    said = attempt.log_file(0).read_text()
    assert "WARNING optim.freeze_iterations=12 is all of the run's 5 steps" in said
    assert f"WARNING {tmp_path / 'run'} is on lustre at /runs, mounted with localflock: " in said
    assert "WARNING queue.start_epoch=1 is not below optim.epochs=" in said
