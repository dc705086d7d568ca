"""Settings: the published recipe to the number, and one clear error for every wrong value."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pip._vendor import tomli

from golang.config import Config, keys
from golang.config.checks import check, check_world
from golang.engine.rank import pick_device
from golang.errors import ConfigError, GolangError
from golang.training.optim import learning_rates
from golang.world import World
from launch.planning.cells import read
from launch.planning.compose import CONFIGS, composing, resolved

ROOT = Path(__file__).parents[2]


def composed(*overrides: str) -> Config:
    """The trainer's settings as a command gives them to it."""
    with composing() as compose:
        config, _ = read(resolved(compose(overrides))[0])
    check(config)
    return config


@pytest.mark.parametrize(("experiment", "images", "steps"), [("coco2014", 82783, 646), ("coco2017", 118287, 924)])
def test_published_recipe(experiment: str, images: int, steps: int) -> None:
    config = composed(f"experiment={experiment}")
    assert config.data.name == experiment and config.method.name == "golang"
    optim, model, augment, queue = config.optim, config.model, config.augment, config.queue
    assert (optim.epochs, optim.batch_size, optim.base_lr, optim.final_lr) == (400, 128, 0.6, 0.0006)
    assert (optim.warmup_epochs, optim.weight_decay, optim.momentum, optim.trust) == (0, 1e-6, 0.9, 1e-3)
    assert optim.freeze_iterations == 5005 and config.precision == "fp16" and config.seed == 31
    assert (model.trunk, model.feature_dim, model.hidden_dim, model.group_heads) == ("resnet50", 128, 2048, 4)
    assert (model.prototypes, model.local_prototypes) == (3000, 3000)
    assert (augment.large_size, augment.large_scale) == (224, (0.14, 1.0))
    assert (augment.small_count, augment.small_size, augment.small_scale) == (6, 96, (0.05, 0.14))
    assert (augment.brightness, augment.contrast, augment.saturation, augment.hue) == (0.8, 0.8, 0.8, 0.2)
    assert (augment.color_probability, augment.gray_probability, augment.blur_probability) == (0.8, 0.2, 0.5)
    assert augment.blur_radius == (0.1, 2.0)
    assert (queue.length, queue.local_length, queue.start_epoch) == (3840, 0, 7)
    assert (config.method.temperature, config.method.epsilon, config.method.sinkhorn_iterations) == (0.1, 0.05, 3)
    assert config.attention.temperature == 1 and config.cross_view.detach and config.cross_view.same_view
    assert images // optim.batch_size == steps
    rates = learning_rates(optim, steps)
    assert len(rates) == 400 * steps and rates[0] == 0.6 and abs(rates[-1] - 0.0006) < 1e-7


def test_coco2014_milestones() -> None:
    """The queue exists from iteration 4522, is full at 4552; the prototypes thaw at 5005."""
    config = composed("experiment=coco2014")
    start = config.queue.start_epoch * (82783 // config.optim.batch_size)
    assert start == 4522
    assert start + config.queue.length // config.optim.batch_size == 4552


def test_defaults_are_the_published_recipe() -> None:
    assert replace(composed("experiment=coco2014"), sweep="runs", tracking=Config().tracking) == Config()


def test_swav_baseline_differs_in_the_method_alone() -> None:
    published, baseline = composed("experiment=coco2014").to_dict(), composed("experiment=swav_coco2014").to_dict()
    assert {key for key in published if published[key] != baseline[key]} == {"sweep", "method"}


def test_demo_is_the_default() -> None:
    assert composed() == composed("experiment=demo")
    assert composed().data.name == "toy"


@pytest.mark.parametrize(
    "group",
    sorted(
        path.name
        for path in CONFIGS.iterdir()
        if path.is_dir() and path.name in ("data", "method", "model", "optim", "augment", "experiment")
    ),
)
def test_every_choice_composes(group: str) -> None:
    with composing() as compose:
        for choice in (CONFIGS / group).glob("*.yaml"):
            values, _ = resolved(compose([f"{group}={choice.stem}"]))
            check(Config.from_dict({key: value for key, value in values.items() if key in keys(Config)}))


def test_round_trip() -> None:
    config = composed("experiment=demo", "model.group_heads=8")
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim": {"epoch": 3}}, r"unknown setting optim\.epoch=3 — did you mean optim\.epochs\?"),
        ({"optm": {}}, r"unknown setting optm=\{\} — did you mean optim\?"),
        ({"optim": {"epochs": "many"}}, r"optim\.epochs='many' must be a whole number, got str"),
        ({"optim": {"epochs": 2.5}}, r"optim\.epochs=2\.5 must be a whole number, got float"),
        ({"precision": "fp8"}, r"precision='fp8' is not one of auto, fp16, bf16, fp32, fp64"),
        ({"augment": {"large_scale": [0.1]}}, r"augment\.large_scale=\[0\.1\] must be a list of 2"),
        ({"augment": {"large_scale": [0.9, 0.1]}}, r"low end first"),
        (
            {"model": {"group_heads": 3}},
            r"model\.group_heads=3 does not divide model\.feature_dim=128; try one of 1, 2, 4",
        ),
        ({"model": {"group_heads": 96, "feature_dim": 96}}, r"does not divide the 2048 channels of resnet50"),
        ({"model": {"trunk": "resnet51"}}, r"model\.trunk='resnet51' is not one of small, resnet18"),
        ({"queue": {"length": 100}}, r"queue\.length=100 is shorter than a batch, optim\.batch_size=128"),
        ({"queue": {"local_length": 100}}, r"queue\.local_length=100 is shorter than a batch's 4096 local views"),
        ({"optim": {"warmup_epochs": 9, "epochs": 8}}, r"warmup_epochs=9 is longer than the run, optim\.epochs=8"),
        ({"optim": {"epochs": 0}}, r"optim\.epochs=0 must be greater than 0"),
        ({"optim": {"momentum": 1.0}}, r"optim\.momentum=1\.0"),
        ({"method": {"epsilon": 0.01}}, r"method\.epsilon=0\.01 is too small"),
        ({"augment": {"small_size": 224}}, r"small_size=224 must be below augment\.large_size=224"),
        ({"augment": {"hue": 0.7}}, r"augment\.hue=0\.7"),
        ({"seed": -1}, r"seed=-1 must not be negative"),
        ({"data": 3}, r"data must be a group of settings, got 3"),
        ({"optim": {"accumulate": 0}}, r"optim\.accumulate=0 must be at least 1"),
        ({"optim": {"accumulate": 2.0}}, r"optim\.accumulate=2\.0 must be a whole number"),
        ({"cuda_graphs": True, "device": "cpu"}, r"cuda_graphs=true needs a GPU, and device=cpu"),
        ({"optim": {"larc": "apex", "adapt_bias_and_norm": False}}, r"needs optim\.larc=own"),
    ],
)
def test_wrong_values(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(Config.from_dict(values))


def test_batch_and_world() -> None:
    with pytest.raises(
        ConfigError, match=r"optim\.batch_size=128 does not divide by 3 ranks; try optim\.batch_size=126"
    ):
        check_world(Config(), 3)
    config = Config.from_dict({"optim": {"accumulate": 6, "batch_size": 96}})
    check_world(config, 4)
    with pytest.raises(ConfigError, match=r"a rank's 8 images of optim\.batch_size=96 .* optim\.accumulate=6"):
        check_world(config, 12)


def test_more_gpus_than_seen() -> None:
    with pytest.raises(ConfigError, match="GPU"):
        pick_device("cuda", 999, 1000)


def test_world_from_the_environment() -> None:
    assert World.read({}) == World()
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "99"}
    world = World.read(torchrun)
    assert (world.rank, world.size, world.local_rank, world.port, world.launcher) == (3, 4, 1, 99, "torchrun")
    slurm = {
        "SLURM_PROCID": "2",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_LOCALID": "0",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    }
    with pytest.raises(ConfigError, match="MASTER_ADDR"):
        World.read(slurm)
    world = World.read(slurm | {"MASTER_ADDR": "n1", "MASTER_PORT": "12345"})
    assert (world.rank, world.size, world.local_size, world.address) == (2, 4, 2, "n1")
    alone = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    assert World.read(alone) == World(), "a step of one task starts alone"
    with pytest.raises(ConfigError, match="LOCAL_RANK"):
        World.read({"RANK": "0", "WORLD_SIZE": "2"})


def test_apex_where_it_is_not() -> None:
    from golang.config import Optim
    from golang.method.model import build_model
    from golang.training.optim import build_optimizer

    model = build_model(composed("experiment=demo"))
    with pytest.raises(ConfigError, match="PyPI's `apex` is another project"):
        build_optimizer(Optim(larc="apex"), model)


def test_golang_stands_alone() -> None:
    """golang/ imports neither Hydra nor launch, and reading a run folder needs no torch."""
    script = """
import importlib, pkgutil, sys
for name in ("hydra", "omegaconf", "submitit", "wandb", "launch", "rich", "matplotlib", "yaml", "cv2", "simplejpeg",
             "safetensors", "timm", "transformers"):
    sys.modules[name] = None
import golang.config.checks, golang.config.identity, golang.runfolder.folder
assert "torch" not in sys.modules
import golang
from golang import Config, train, train_here, Outcome, GolangError
for module in pkgutil.walk_packages(golang.__path__, "golang."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)


def test_environment_is_in_step_with_pyproject() -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    }
    text = (ROOT / "environment.yml").read_text()
    assert set(re.findall(r"^      - (\S+)$", text, re.MULTILINE)) == wanted
    without_gpu = (ROOT / "environment-cpu.yml").read_text().replace("pytorch-cpu", "torch")
    assert set(re.findall(r"^ +- ((?:[\w-]+)(?:>=\S+)?)$", without_gpu, re.MULTILINE)) >= wanted
    assert f"python{project['requires-python']}" in text
    assert "https://github.com/NVIDIA/apex" in text


def test_pins_satisfy_pyproject() -> None:
    from importlib.metadata import version

    pinned = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if "==" in line and 'python_version < "3.11"' not in line:
            name, _, pin = line.split(";")[0].strip().partition("==")
            pinned[name.lower()] = pin
    for name in (
        "torch",
        "torchvision",
        "opencv-python-headless",
        "simplejpeg",
        "hydra-core",
        "submitit",
        "wandb",
        "rich",
        "pytest",
    ):
        assert version(name).split("+")[0] == pinned[name], name


def test_every_key_is_documented_by_its_class() -> None:
    assert {"optim.epochs", "queue.start_epoch", "model.group_heads", "data.root"} <= set(keys(Config))
    assert issubclass(ConfigError, GolangError)


@pytest.mark.parametrize("path", sorted((CONFIGS / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes_and_names_its_source(path: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    config = composed(f"experiment={path.stem}", f"data.root={tmp_path}")
    assert config.sweep == path.stem and Config.from_dict(config.to_dict()) == config
    comment = " ".join(line for line in path.read_text().splitlines()[1:] if line.startswith("#"))
    assert path.stem == "demo" or re.search(r"arXiv \d{4}\.\d{5}|doi 10\.", comment), "a recipe names its source"


@pytest.mark.parametrize("path", sorted((CONFIGS / "evaluation").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_evaluation_composes(path: Path) -> None:
    evaluation = composed("experiment=coco2014", f"evaluation={path.stem}").evaluation
    assert evaluation.protocol == (() if path.stem in ("none", "probe") else (path.stem,))


def test_recipes_with_ssprl() -> None:
    ours, theirs = composed("experiment=coco2014"), composed("experiment=ssprl_coco2014")
    assert not theirs.cross_view.detach and theirs.evaluation.protocol == ("linear_coco",)
    assert replace(theirs, cross_view=ours.cross_view, sweep=ours.sweep, evaluation=ours.evaluation) == ours
    assert composed("experiment=ssprl_voc2007").data.name == "voc2007"
