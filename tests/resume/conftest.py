"""A small set and the runs that everything is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from golang.config import Config
from golang.data.toy.write import write
from tests.resume.harness import launch, settings


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    write(root, settings(root).data.toy, workers=1)
    return root


@pytest.fixture(scope="session")
def config(data_root: Path) -> Config:
    return settings(data_root)


@pytest.fixture(scope="session")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that nobody stopped."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert launch(config, run_dir, ranks=2) == [0, 0]
    return run_dir
