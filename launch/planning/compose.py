"""Settings as Hydra composes them, from configs/ and from what was typed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from golang import sources
from golang.config import Config
from launch.settings import Launch

CONFIGS = sources.configs()
ERRORS = (HydraException, OmegaConfBaseException, YAMLError)  # of settings that can't be composed or resolved
Compose = Callable[[Sequence[str]], DictConfig]


def groups() -> set[str]:
    """The folders of configs/."""
    return {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_dir()}


def choices(group: str) -> list[str]:
    """The files of a group; of `sweep`, the grids."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@contextlib.contextmanager
def composing(sweeps: Iterable[str] = ()) -> Iterator[Compose]:
    """While entered, a function from overrides to settings, Hydra's own included. A value of `sweep`, one of `sweeps`,
    that is no grid is a name for the folder of runs; Hydra wants a file for that too."""
    store = ConfigStore.instance()
    store.store("schema", Config().to_dict() | asdict(Launch()))
    for sweep in set(sweeps).difference(choices("sweep")):
        store.store(sweep, {"sweep": sweep}, group="sweep", package="_global_")

    def composed(overrides: Sequence[str]) -> DictConfig:
        settings = compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(settings)  # for ${hydra:…}
        return settings

    with initialize_config_dir(str(CONFIGS), job_name="run", version_base="1.3"):
        yield composed


def resolved(settings: DictConfig) -> tuple[dict[str, Any], bool]:
    """Composed settings as plain data, without Hydra's own, which are dropped; and whether any is interpolated."""
    with open_dict(settings):
        del settings["hydra"]
    raw = OmegaConf.to_container(settings)
    values: Any = OmegaConf.to_container(settings, resolve=True, throw_on_missing=True)
    return values, "${" in json.dumps(raw, default=str)


def said(error: Any) -> str:  # noqa: ANN401 - one of ERRORS
    """An error of Hydra's or its files' in one sentence."""
    cause = error if str(error) else error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key or 'the settings'}: {str(cause).splitlines()[0]}"
    return " ".join(str(cause).split())
