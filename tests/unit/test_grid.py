"""Grids, without a cluster: what their cells compose to, dry runs, evaluations behind trainings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from golang.config import Config, Evaluation
from golang.errors import ConfigError
from launch.planning import show
from launch.planning.grid import Grid
from launch.planning.plan import CONFIGS, _for_hydra, _groups, _runs_of, check_overrides
from launch.settings import Cluster, Launch
from launch.submission.sbatch import Script
from launch.submission.submit import Fate, _arrays
from launch.sweep.folder import Plan, Planned


@pytest.fixture
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    ConfigStore.instance().store("schema", Config().to_dict() | asdict(Launch()))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def composed(overrides: list[str]) -> DictConfig:
    settings = compose("config", overrides, return_hydra_config=True)
    with open_dict(settings):
        del settings["hydra"]
    return settings


@pytest.mark.parametrize(
    "cells",
    [
        [[f"optim.epochs={e}", f"seed={s}"] for e, s in itertools.product((10, 200), (1, 2))],
        [["experiment=coco2014", f"model.group_heads={h}", "optim.base_lr=1e-3"] for h in (1, 4)],
        [[f"experiment={name}", "name='a,b'"] for name in ("coco2014", "swav_coco2014", "demo")],
        [["queue={length: 256}", f"queue.start_epoch={q}"] for q in (1, 2)],
        [["queue.length=128", f"queue={{length: {q}}}"] for q in (256, 512)],
        [["augment.large_scale=[0.2,1.0]", f"data.root={root}"] for root in ("null", "/a/b", "'x y'")],
        [[f"name=run-${{seed}}-{e}", f"seed={e}"] for e in (1, 2)],
        [["data=toy", f"data.toy.size={size}"] for size in (32, 64)],
        [["seed=1", "seed=2"]],
        [["cluster=slurm", "++cluster.env={A: b}", f"cluster.nodes={n}"] for n in (1, 2)],
    ],
)
def test_a_cell_is_what_hydra_composes(hydra: None, cells: list[list[str]]) -> None:
    grid = Grid(composed, _groups())
    for cell in cells:
        assert grid.settings(cell) == OmegaConf.to_container(composed(cell), resolve=True)


def test_a_value_grid_is_composed_once(hydra: None) -> None:
    grid = Grid(composed, _groups())
    cells = [["experiment=coco2014", f"seed={seed}", f"optim.epochs={e}"] for seed in range(20) for e in (1, 2, 3)]
    assert len({str(grid.settings(cell)) for cell in cells}) == 60
    assert grid.compositions == 1


def test_a_long_folder_name_keeps_what_differs(tmp_path: Path) -> None:
    shared = [f"model.{name}=64" for name in ("hidden_dim", "feature_dim", "prototypes", "local_prototypes", "depth")]
    (run,) = _runs_of(Config(seed=7), (*shared, "seed=7", "cluster=local"), {*shared}, Cluster(), tmp_path, {})
    assert run.folder.name.startswith("seed=7,hidden_dim=64,") and run.folder.name.endswith(f"-{run.id}")


@pytest.mark.parametrize("where", ["slurm", "local"])
def test_a_dry_run_shows_a_whole_path_and_only_a_script_that_would_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    run = Planned("0a0a0a0a", Config(), ("seed=1",), Cluster(name=where), tmp_path / "base-0a0a0a0a")
    show.plan(Plan(tmp_path, (), (run,), "current", True), "#!/bin/bash")
    said = capsys.readouterr().out
    assert f"1 runs for {tmp_path}\n" in said and ("#!/bin/bash" in said) == (where == "slurm")


@pytest.mark.parametrize(
    "grid", ["optim.epochs=1,2", "seed=range(3)", "model=choice(small,resnet18)", "sweep=standard"]
)
def test_a_grid_without_a_cluster_names_the_choices(grid: str) -> None:
    with pytest.raises(ConfigError, match=r"cluster=slurm or cluster=local"):
        check_overrides([grid])
    check_overrides([grid, "cluster=slurm"])


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["evaluation=[linear_coco, knn]"], ["evaluation=linear_coco", "evaluation.protocol=[linear_coco,knn]"]),
        (["evaluation=[probe,knn]"], ["evaluation=probe", "evaluation.protocol=[knn]"]),
        (["checkpoint=a.pt"], ["evaluation.checkpoint=a.pt", "experiment=evaluate"]),
        (["data=toy", "checkpoint=runs/a/b=1,c=2-7d"], ["data=toy", "evaluation.checkpoint='runs/a/b=1,c=2-7d'"]),
        (["data=toy", "checkpoint='a=1'"], ["data=toy", "evaluation.checkpoint='a=1'"]),
        (["model.init=runs/b=1/step_1.pt"], ["model.init='runs/b=1/step_1.pt'"]),
        (["data=toy", "checkpoint=a.pt"], ["data=toy", "evaluation.checkpoint=a.pt"]),
        (["checkpoint.keep_last=1", "cluster.exclude=n[1,2]"], ["checkpoint.keep_last=1", "cluster.exclude='n[1,2]'"]),
    ],
)  # fmt: skip
def test_words_of_ours_in_hydras_grammar(typed: list[str], read: list[str]) -> None:
    assert _for_hydra(typed) == read


def test_evaluations_wait_for_their_runs() -> None:
    """For an array element by element if they are as many, else for single jobs; for nothing if all is done."""
    script = Script(Cluster("slurm", extra={"mail-type": "END"}), Path("code"), "x", Path(), 60)

    def arrays(jobs: dict[str, str]) -> list[tuple[str | None, list[str]]]:
        runs = [
            Planned(
                f"{name}{parent}", Config(evaluation=Evaluation(protocol=(name,))), (), script.cluster, Path(), parent
            )
            for parent in jobs
            for name in ("knn", "linear_coco")
        ]
        fates = {parent: Fate(runs[0], "submitted" if job else "finished", job) for parent, job in jobs.items()}
        found = _arrays(runs, {run.id: script for run in runs}, fates)
        for one, _ in found:
            waits = one.cluster.dependency is not None
            assert one.cluster.extra == {"mail-type": "END"} | ({"kill-on-invalid-dep": "yes"} if waits else {})
        return [(one.cluster.dependency, [run.id for run in group]) for one, group in found]

    assert arrays({"a": "7_0", "b": "7_1"}) == [
        ("aftercorr:7", ["knna", "knnb"]),
        ("aftercorr:7", ["linear_cocoa", "linear_cocob"]),
    ]
    assert arrays({"a": "7_1", "b": "", "c": "8"}) == [
        ("afterok:7_1", ["knna"]),
        ("afterok:7_1", ["linear_cocoa"]),
        (None, ["knnb", "linear_cocob"]),
        ("afterok:8", ["knnc"]),
        ("afterok:8", ["linear_cococ"]),
    ]
