"""The demo's settings, composed from the files in configs/ as `python run.py` composes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from golang.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def demo(overrides: Sequence[str] = ()) -> Config:
    """The trainer's settings of experiment=demo with overrides; the launcher's own settings are left out."""
    ConfigStore.instance().store("schema", Config().to_dict())
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings: Any = compose("config", ["experiment=demo", *overrides])
    values: dict[str, Any] = OmegaConf.to_container(settings, resolve=True)  # type: ignore[assignment]
    own = {field.name for field in dataclasses.fields(Config)}
    return Config.from_dict({key: value for key, value in values.items() if key in own})
