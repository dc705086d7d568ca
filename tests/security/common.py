"""Plans of odd runs, and Slurm's commands that only note how they were called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from golang.config import Config
from golang.config.identity import label, run_id
from launch.settings import Cluster
from launch.sweep.folder import Plan, Planned

ROOT = Path(__file__).parents[2]
SHELL = "x$(touch canary)`touch canary`;touch canary;'\"&touch canary|touch canary>canary"


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands, which only note how they were called; first on the PATH."""
    said = {
        "sbatch": "echo Submitted batch job 7", "squeue": "", "scancel": "", "srun": "", "sacct": "",
        "scontrol": "echo JobId=7 JobState=COMPLETED Restarts=0 EndTime=2026-01-01T00:00:00",
    }  # fmt: skip
    folder.mkdir()
    for name, words in said.items():
        text = f'#!/bin/bash\nfor word in {name} "$@"; do printf "%s\\0" "$word" >>{folder}/called; done\n{words}\n'
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def planned(config: Config, folder: Path, cluster: Cluster | None = None) -> Planned:
    return Planned(run_id(config), config, (f"seed={config.seed}",), cluster or Cluster(name="slurm"), folder)


def plan(sweep: Path, configs: list[Config], cluster: Cluster | None = None) -> Plan:
    runs = [planned(one, sweep / f"{label([f'name={one.name}'])}-{run_id(one)}", cluster) for one in configs]
    return Plan(sweep, ("run.py", SHELL), tuple(runs))
