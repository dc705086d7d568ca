"""From a command line to a run: Hydra composes, the trainer's own classes check, the run gets its folder.

The only module that knows Hydra.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from golang.config import Config, build, keys, nearest
from golang.engine.local import train_here
from golang.engine.worker import set_up_logging
from golang.errors import ConfigError, GolangError
from golang.identity import find_run, label, run_id
from launch.config import Launch

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
log = logging.getLogger("golang")


def app(arguments: Sequence[str]) -> int:
    """What `python run.py ARGUMENTS` does; the exit status."""
    try:
        check_overrides(arguments)
    except GolangError as error:
        set_up_logging(0)
        log.error("%s", error)
        return error.exit_status
    ConfigStore.instance().store("schema", Config().to_dict() | _launch_defaults())
    status = 0

    @hydra.main(config_path=str(CONFIGS), config_name="config", version_base="1.3")
    def compose(settings: DictConfig) -> None:
        nonlocal status
        status = run(settings, list(HydraConfig.get().overrides.task))

    compose()
    return status


def run(settings: DictConfig, overrides: Sequence[str]) -> int:
    """Freezes one composed run and trains it here; the exit status."""
    try:
        config, launch = split(settings)
        folder = run_folder(config, launch, overrides)
        return train_here(config, folder, processes(launch), launch.cluster.gpus_per_node)
    except GolangError as error:
        set_up_logging(0)
        log.error("%s", error)
        return error.exit_status


def split(settings: DictConfig) -> tuple[Config, Launch]:
    """The trainer's settings and the launcher's. Raises ConfigError for anything wrong in either."""
    values: dict[str, Any] = OmegaConf.to_container(settings, resolve=True)  # type: ignore[assignment]
    own = set(keys(Launch))
    launch = build(Launch, {key: value for key, value in values.items() if key in own})
    return Config.from_dict({key: value for key, value in values.items() if key not in own}), launch


def run_folder(config: Config, launch: Launch, overrides: Sequence[str]) -> Path:
    """Where the run lives: run_dir if given, else the folder of its id in the sweep, new or there already."""
    if launch.run_dir is not None:
        return Path(launch.run_dir)
    sweep = Path(launch.runs_dir) / config.sweep
    identity = run_id(config)
    return find_run(sweep, identity) or sweep / f"{label(overrides)}-{identity}"


def processes(launch: Launch) -> int | None:
    """How many ranks to start here; None for the default."""
    cluster = launch.cluster
    if cluster.tasks_per_node is not None and cluster.tasks_per_node < 1:
        raise ConfigError(f"cluster.tasks_per_node={cluster.tasks_per_node} must be at least 1")
    return cluster.tasks_per_node


def check_overrides(arguments: Sequence[str]) -> None:
    """Raises ConfigError for a key that doesn't exist (naming the nearest) and for a grid without a cluster."""
    words = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    try:
        overrides = OverridesParser.create().parse_overrides(words)
    except HydraException as error:
        raise ConfigError(f"can't read {' '.join(words)!r}: {error}") from error
    groups = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_dir()}
    known = [*keys(), *keys(Launch), *sorted(groups)]
    for override in overrides:
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] == "hydra":
            continue
        if key not in known:
            raise ConfigError(f"unknown setting {override.input_line}{nearest(key, known)}")
        if key in groups and isinstance(override.value(), str):
            there = sorted(path.stem for path in (CONFIGS / key).glob("*.yaml"))
            if override.value() not in there:
                raise ConfigError(f"{override.input_line}: there is no such {key}; choose one of {', '.join(there)}")
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line} is a grid of several runs, and this machine trains one at a time; give one "
                "value, or quote a value that contains a comma"
            )


def _launch_defaults() -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(Launch())


def main() -> None:
    sys.exit(app(sys.argv[1:]))
