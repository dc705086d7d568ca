"""The tests' newer Slurms: what the comparison prints, and what is said where a root folder can't be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.slurm.comparison import markdown
from tests.slurm.versions import main


def test_a_column_for_each_slurm() -> None:
    def measured(slurm: str, wrong: str, lost: float | None) -> dict:
        facts = {"row": "a rank dies", "named": "killed", "attempts": 2, "repeated": 1, "lost": lost, "wrong": wrong}
        return {"slurm": slurm, "results": [facts]}

    lines = list(markdown([measured("22.05", "", 3.04), measured("24.11", "AssertionError: no\nmore", None)]))
    assert lines == [
        "| what happens | cause.json | attempts | steps repeated | seconds lost | end on 22.05 | end on 24.11 |",
        "|---|---|---|---|---|---|---|",
        "| a rank dies | killed | 2 | 1 | 3.0 | bit-identical | AssertionError: no |",
    ]


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("GOLANG_SLURM_ROOTS", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr("sys.base_prefix", "/opt/python")
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert main(["pytest"]) == 1
    assert "apt-get install -y --no-install-recommends debootstrap" in capsys.readouterr().err
    monkeypatch.setattr("sys.base_prefix", "/usr")
    assert main(["pytest"]) == 1
    assert "make setup PYTHON=" in capsys.readouterr().err
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert main(["pytest"]) == 1
    assert "uid 1000" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
