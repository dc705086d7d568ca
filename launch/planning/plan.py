"""Which runs are asked for, and the folder of each: here, or in the sweep that a cluster is to fill."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from golang.config import Config
from golang.config.checks import check, check_world
from golang.config.identity import folder_name, label, run_id
from golang.errors import ConfigError
from golang.runfolder.evaluations import of_checkpoint, of_run, result_name
from launch.planning.cells import read
from launch.planning.grid import Cell
from launch.settings import Cluster, Launch
from launch.sweep.folder import Plan, Planned
from launch.sweep.paths import folders


def here(config: Config, launch: Launch, words: Sequence[str]) -> list[tuple[Config, Path]]:
    """The run of one composed command, or its evaluations, each with its folder: run_dir if given, else the one of its
    id in the sweep, there already or new. Whoever trains it checks the settings."""
    runs = [config] if config.evaluation.checkpoint is None else of_checkpoint(config) or [config]
    if launch.run_dir is not None:
        if len(runs) > 1:
            raise ConfigError(f"run_dir={launch.run_dir} is for one evaluation; leave it out for {len(runs)}")
        return [(runs[0], Path(launch.run_dir))]
    sweep = Path(launch.runs_dir) / config.sweep
    there = folders(sweep)
    return [(run, there.get(run_id(run)) or sweep / f"{_name(run, words)}-{run_id(run)}") for run in runs]


def plan(command: Sequence[str], cells: Sequence[Cell], settings: Iterable[dict[str, Any]]) -> Plan:
    """The runs of a sweep, from the overrides and the settings of each cell. Raises ConfigError for the first setting
    that cannot work."""
    there: dict[Path, dict[str, Path]] = {}
    runs: dict[str, Planned] = {}
    shared = set.intersection(*map(set, cells))
    for cell, values in zip(cells, settings, strict=True):
        config, launch = read(values)
        check(config)
        if launch.run_dir is not None:
            raise ConfigError(
                f"run_dir={launch.run_dir} is for one run here; with a cluster, runs_dir={launch.runs_dir} and "
                f"sweep={config.sweep} say where the runs go"
            )
        if config.evaluation.checkpoint is None:
            check_world(config, launch.cluster.nodes * launch.cluster.tasks)
        sweep = Path(launch.runs_dir).expanduser().absolute() / config.sweep
        if sweep not in there:
            there[sweep] = folders(sweep)
        for run in runs_of(config, cell, shared, launch.cluster, sweep, there[sweep]):
            runs.setdefault(run.id, run)
    if len(there) != 1:
        names = ", ".join(path.name for path in there)
        raise ConfigError(f"a command fills one sweep, this one would fill {names}; add sweep=NAME")
    return Plan(next(iter(there)), tuple(command), tuple(runs.values()), launch.code, launch.dry_run)


def runs_of(
    config: Config, overrides: Cell, shared: Container[str], cluster: Cluster, sweep: Path, there: dict[str, Path]
) -> Iterator[Planned]:
    """What one cell asks for: a training and the evaluations of its end, each a run of its own; or evaluations.
    A folder's name is cut where it is long, so what all cells share comes last in it."""

    def planned(one: Config, words: Cell, name: str, after: str = "") -> Planned:
        identity = run_id(one)
        return Planned(identity, one, words, cluster, there.get(identity) or sweep / f"{name}-{identity}", after)

    plain = tuple(word for word in overrides if word.partition("=")[0] not in ("evaluation", "evaluation.protocol"))
    if config.evaluation.checkpoint is not None:
        for one in of_checkpoint(config):
            yield planned(one, (*plain, f"evaluation={one.evaluation.protocol[0]}"), _name(one, ()))
        return
    name = label(sorted(overrides, key=lambda word: word in shared))
    if not config.evaluation.protocol:
        yield planned(config, overrides, name)
        return
    training = planned(replace(config, evaluation=replace(config.evaluation, protocol=())), plain, name)
    yield training
    for one in of_run(config, training.folder):
        protocol = one.evaluation.protocol[0]
        yield planned(one, (*plain, f"evaluation={protocol}"), folder_name([result_name(one), name]), training.id)


def _name(config: Config, words: Sequence[str]) -> str:
    """A folder's name, but for the id: of a training by what was typed, of an evaluation by what it measures."""
    if config.evaluation.checkpoint is None or not config.evaluation.protocol:
        return label(words)
    file = Path(config.evaluation.checkpoint)
    whose = [file.parents[1].name] if file.parent.name == "checkpoints" else []
    return folder_name([result_name(config), *whose, file.stem])
