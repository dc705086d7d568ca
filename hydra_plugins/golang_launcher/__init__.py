"""Lets Hydra's own grammar drive launch/: chosen by configs/cluster/slurm.yaml and local.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GolangLauncher(Launcher):
    """Hands the cells of a sweep to launch/, which returns as soon as they are in the queue."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from launch.planning.plan import launch_cells

        value = launch_cells(self.context.config_loader, self.config, job_overrides)
        done = JobReturn(overrides=[], status=JobStatus.COMPLETED)
        done.return_value = value
        return [done]


class GolangSweeper(BasicSweeper):
    """Hydra's basic sweeper without composing every cell twice: launch/ composes what differs, and checks it all."""

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ANN401 - as in Hydra
        assert self.hydra_context is not None and self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        (cells,) = self.split_arguments(overrides, None)
        return [self.launcher.launch(cells, initial_job_idx=0)]


_HERE = "hydra_plugins.golang_launcher"
for _group, _node in (
    ("hydra/launcher", {"_target_": f"{_HERE}.GolangLauncher"}),
    ("hydra/sweeper", {"_target_": f"{_HERE}.GolangSweeper", "max_batch_size": None, "params": None}),
):
    ConfigStore.instance().store(group=_group, name="golang", node=_node, provider="golang_launcher")
