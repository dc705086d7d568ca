"""A run's identity counts what changes its result, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from golang.config import Config
from golang.config.identity import label, result_settings, run_id
from golang.errors import ConfigError
from launch.sweep.paths import folders


def changed(**sections: object) -> Config:
    return Config.from_dict(sections)


@pytest.mark.parametrize(
    "config",
    [
        changed(data={"root": "/elsewhere"}),
        changed(data={"workers": 2}),
        changed(checkpoint={"every_minutes": 1.0}),
        changed(log_every_steps=5),
        changed(device="cpu"),
        changed(deterministic=True),
        changed(cuda_graphs=True),
        changed(sweep="other"),
        changed(tracking={"name": "wandb", "tags": ["a"]}),
    ],
)
def test_outside(config: Config) -> None:
    assert run_id(config) == run_id(Config())


@pytest.mark.parametrize(
    "config",
    [
        changed(seed=1),
        changed(name="again"),
        changed(precision="fp32"),
        changed(optim={"epochs": 100}),
        changed(optim={"accumulate": 2}),
        changed(queue={"start_epoch": 15}),
        changed(model={"group_heads": 8}),
        changed(data={"name": "coco2017"}),
        changed(data={"toy": {"seed": 1}}),
        changed(method={"name": "swav"}),
        changed(augment={"hue": 0.1}),
        changed(attention={"temperature": 0.5}),
        changed(cross_view={"detach": False}),
    ],
)
def test_inside(config: Config) -> None:
    assert run_id(config) != run_id(Config())


def test_a_setting_added_later_leaves_old_ids_alone() -> None:
    """Only what differs from the defaults is hashed, so a new key at its default adds nothing."""
    assert result_settings(Config()) == result_settings(changed(optim={"accumulate": 1})) == {}
    assert result_settings(changed(optim={"epochs": 100})) == {"optim.epochs": 100}
    assert run_id(changed(optim={"epochs": 100})) == "180cb49e", "ids of existing runs must never change"


def test_every_section_is_inside_or_outside_on_purpose() -> None:
    sections = {field.name for field in dataclasses.fields(Config)}
    inside = {
        "name",
        "seed",
        "precision",
        "data",
        "method",
        "attention",
        "cross_view",
        "queue",
        "model",
        "optim",
        "augment",
    }
    outside = {
        "sweep",
        "device",
        "deterministic",
        "cuda_graphs",
        "log_every_steps",
        "hang_seconds",
        "checkpoint",
        "evaluation",
        "tracking",
        "recipe",
    }
    assert sections == inside | outside


def test_label() -> None:
    assert (
        label(["optim.epochs=100", "model.group_heads=8", "cluster=slurm", "data.root=/x"])
        == "epochs=100,group_heads=8"
    )
    assert label([]) == label(["code=frozen"]) == "base"
    assert "/" not in label(["name=../../etc/passwd"]) and label(["name=$(rm -rf)"]).isprintable()


def test_found_by_id_alone(tmp_path: Path) -> None:
    (tmp_path / "any label-12345678").mkdir()
    assert folders(tmp_path) == {"12345678": tmp_path / "any label-12345678"}
    assert folders(tmp_path / "nowhere") == {}
    (tmp_path / "other-12345678").mkdir()
    with pytest.raises(ConfigError, match=r"holds run 12345678 twice: .*-12345678, .*-12345678; move one"):
        folders(tmp_path)
