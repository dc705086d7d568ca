"""The golden arrays in the suite: the carried set, or the folder that GOLDEN_DIR names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden.__main__ import check_file, main

DATA = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parent / "data"))
FILES = sorted(path for path in DATA.iterdir() if path.suffix in (".npz", ".json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file(path: Path) -> None:
    result = check_file(path)
    assert result.ok, result.misses


def test_deterministic_mode() -> None:
    """Ten whole steps agree, and no operation is refused, where torch insists on deterministic ones."""
    torch.use_deterministic_algorithms(True)
    try:
        result = check_file(Path(__file__).parent / "data/full_tiny_10steps.npz")
    finally:
        torch.use_deterministic_algorithms(False)
    assert result.ok, result.misses


def test_every_kind_is_there() -> None:
    assert len(FILES) >= 12 or "GOLDEN_DIR" in os.environ


def test_a_miss_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = dict(np.load(Path(__file__).parent / "data/map_metric.npz"))
    arrays["out/AP"] = arrays["out/AP"] + 1e-9
    np.savez(tmp_path / "map_metric.npz", **arrays)
    assert main(tmp_path) == 1
    assert "FAIL map_metric.npz" in capsys.readouterr().out


def test_an_unknown_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mystery.npz", something=np.zeros(3))
    assert main(tmp_path) == 1
    assert "no known kind" in capsys.readouterr().out
    (tmp_path / "mystery.npz").unlink()
    assert main(tmp_path) == 1, "an empty folder is a failure too"


def test_a_nan_is_a_miss(tmp_path: Path) -> None:
    arrays = dict(np.load(Path(__file__).parent / "data/map_metric.npz"))
    arrays["out/mAP"] = np.array(np.nan)
    np.savez(tmp_path / "map_metric.npz", **arrays)
    assert main(tmp_path) == 1
