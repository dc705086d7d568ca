"""Which runs are asked for, and the folder of each: here, or in the sweep that a cluster is to fill."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from golang.config import Config
from golang.config.checks import check, check_world
from golang.config.identity import folder_name, label, run_id
from golang.config.paths import expanded
from golang.errors import ConfigError
from golang.runfolder.evaluations import of_checkpoint, of_run, result_name
from golang.settled import Seen, folder_of, identified, settled
from launch.planning.cells import read
from launch.planning.grid import Cell
from launch.planning.words import TEXTS
from launch.settings import Cluster, Launch
from launch.sweep.folder import Plan, Planned
from launch.sweep.paths import folders


def here(config: Config, launch: Launch, words: Sequence[str]) -> list[tuple[Config, Path]]:
    """The run of one composed command, or its evaluations, each with its folder: run_dir if given, else the one of its
    id in the sweep, there already or new. Whoever trains it checks the settings."""
    runs = [config] if config.evaluation.checkpoint is None else [*map(identified, of_checkpoint(config))] or [config]
    if launch.run_dir is not None:
        if len(runs) > 1:
            raise ConfigError(f"run_dir={launch.run_dir} is for one evaluation; leave it out for {len(runs)}")
        return [(runs[0], expanded(launch.run_dir))]
    sweep = expanded(launch.runs_dir) / config.sweep
    there = folders(sweep)
    return [(run, folder_of(run, there) or sweep / f"{_name(run, words)}-{run_id(run)}") for run in runs]


def plan(command: Sequence[str], cells: Sequence[Cell], settings: Iterable[dict[str, Any]]) -> Plan:
    """The runs of a sweep, from the overrides and the settings of each cell. Raises ConfigError for the first setting
    that cannot work, and for a grid over one that makes no run another."""
    there: dict[Path, dict[str, Path]] = {}
    runs: dict[str, tuple[Planned, Cell]] = {}
    shared, seen = set.intersection(*map(set, cells)), Seen()
    for cell, values in zip(cells, settings, strict=True):
        config, launch = read(values, seen)
        check(config)
        if launch.run_dir is not None:
            raise ConfigError(
                f"run_dir={launch.run_dir} is for one run here; with a cluster, runs_dir={launch.runs_dir} and "
                f"sweep={config.sweep} say where the runs go"
            )
        if config.evaluation.checkpoint is None:
            check_world(config, launch.cluster.nodes * launch.cluster.tasks)
        sweep = expanded(launch.runs_dir).absolute() / config.sweep
        if sweep not in there:
            there[sweep] = folders(sweep)
        for run in runs_of(config, cell, shared, launch.cluster, sweep, there[sweep]):
            first, other = runs.setdefault(run.id, (run, cell))
            if (first.config, first.cluster) != (run.config, run.cluster):
                raise _collapsed(run.id, other, cell)
    if len(there) != 1:
        names = ", ".join(path.name for path in there)
        raise ConfigError(f"a command fills one sweep, this one would fill {names}; add sweep=NAME")
    planned, told = tuple(run for run, _ in runs.values()), launch.notify.command
    return Plan(next(iter(there)), tuple(command), planned, launch.code, launch.dry_run, told)


def _collapsed(id: str, first: Cell, second: Cell) -> ConfigError:
    """Of two cells that ask for one run in two ways, of which it can have only one."""
    pairs = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]]
    one, two = (" ".join(cell) for cell in zip(*pairs, strict=True))
    named = [word.lstrip("+").partition("=") for word, _ in pairs]
    keys, values = " and ".join(key for key, _, _ in named), [word.partition("=")[2] for word in pairs[0]]
    if keys == "evaluation" and "none" not in values:
        way = f"evaluation=[{','.join(values)}] asks for both"
    elif keys in TEXTS or keys.startswith(("cluster.env.", "cluster.extra.")):
        way = f"give one value: {keys}={','.join(values)}, without choice(), is one, as Slurm takes it"
    else:
        way = f"give one value, such as {one}"
    return ConfigError(
        f"{one} and {two} are the same run, {id}: {keys} is no part of what makes a run another, so its grid would "
        f"lose all values but one; {way}. A name=NAME of its own makes each command another run"
    )


def runs_of(
    config: Config, overrides: Cell, shared: Container[str], cluster: Cluster, sweep: Path, there: dict[str, Path]
) -> Iterator[Planned]:
    """What one cell asks for: a training and the evaluations of its end, each a run of its own; or evaluations.
    A folder's name is cut where it is long, so what all cells share comes last in it."""

    def planned(one: Config, words: Cell, name: str, after: str = "") -> Planned:
        folder = folder_of(one, there) or sweep / f"{name}-{run_id(one)}"
        one = _begun(one, folder, cluster)
        return Planned(run_id(one), one, words, cluster, folder, after)

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
    for one in of_run(replace(training.config, evaluation=config.evaluation), training.folder):
        protocol = one.evaluation.protocol[0]
        yield planned(one, (*plain, f"evaluation={protocol}"), folder_name([result_name(one), name]), training.id)


def _begun(config: Config, folder: Path, cluster: Cluster) -> Config:
    """As the run in `folder` has its settings, or begins with them; what is left to the recipe is its node's to choose
    where nobody says here whether it has GPUs."""
    gpus = False if config.device == "cpu" else cluster.shape.gpus is not None or None
    config = settled(config, folder, cluster.nodes * cluster.tasks, gpus)
    if config.recipe.left:
        check(config)
    return config


def _name(config: Config, words: Sequence[str]) -> str:
    """A folder's name, but for the id: of a training by what was typed, of an evaluation by what it measures."""
    if config.evaluation.checkpoint is None or not config.evaluation.protocol:
        return label(words)
    file = Path(config.evaluation.checkpoint)
    whose = [file.parents[1].name] if file.parent.name == "checkpoints" else []
    return folder_name([result_name(config), *whose, file.stem])
