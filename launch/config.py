"""Where runs happen: settings of the launcher, which the science knows nothing of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Cluster:
    name: Literal["none"] = "none"
    gpus_per_node: int | None = None
    tasks_per_node: int | None = None


@dataclass(frozen=True)
class Launch:
    """The settings beside the trainer's own."""

    run_dir: str | None = None  # a run's folder; default: runs_dir/sweep/label-id
    runs_dir: str = "runs"
    cluster: Cluster = field(default_factory=Cluster)
