"""`python run.py …`, `golang train …`: trains here (`cluster=none`), or hands what is planned to launch.submission."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from golang.errors import ConfigError, GolangError
from golang.runfolder.folder import RunFolder
from launch.node import notify
from launch.planning import flags
from launch.planning.cells import read as read_settings
from launch.planning.compose import ERRORS, Compose, composing, resolved, said
from launch.planning.grid import cells, settings_of
from launch.planning.plan import here, plan
from launch.planning.words import read
from launch.text import plain


def main(command: Sequence[str], program: int = 1) -> int:
    """What a command does, given as a shell has it, its first `program` words being what it starts; the exit status."""
    try:
        return _do(command, command[program:])
    except GolangError as error:
        print(plain(str(error), keep="\n"))
        return error.exit_status
    except ERRORS as error:
        print(plain(said(error)))
        return ConfigError.exit_status


def _do(command: Sequence[str], arguments: Sequence[str]) -> int:
    options, words = flags.read(arguments)
    if options.shell_completion:
        flags.complete(words)
        return 0
    overrides = read(words)
    sweeps = [str(o.value()) for o in overrides if o.key_or_group == "sweep" and not o.is_sweep_override()]
    with composing(sweeps) as compose:
        settings = compose([o.input_line or "" for o in overrides if not o.is_sweep_override()])
        if options.cfg:
            if grids := [o.input_line for o in overrides if o.is_sweep_override()]:
                raise ConfigError(f"--cfg shows one run, and {grids[0]} is a grid; give one value")
            flags.show_settings(settings, options)
        elif OmegaConf.select(settings, "cluster.name") == "none":
            return _train_here(settings, [o.input_line or "" for o in overrides if not o.is_hydra_override()])
        else:
            _queue(command, words, settings, compose)
    return 0


def _train_here(settings: DictConfig, words: Sequence[str]) -> int:
    config, launch = read_settings(resolved(settings)[0])
    if launch.dry_run:
        raise ConfigError("dry_run=true shows what would be submitted, and cluster=none submits nothing; "
                          "choose cluster=slurm or cluster=local")  # fmt: skip
    from golang.processes.local import train_here  # torch, which nothing else here needs

    status = 0
    for run, folder in here(config, launch, words):
        if status:
            break
        attempts, command = RunFolder(folder).attempt_numbers(), launch.notify.command
        try:
            status = train_here(run, folder, launch.cluster.tasks_per_node, launch.cluster.gpus_here)
        except Exception as error:
            notify.tell_of(folder, command, attempts, getattr(error, "exit_status", 1))
            raise
        notify.tell_of(folder, command, attempts, status)
    return status


def _queue(command: Sequence[str], words: Sequence[str], settings: DictConfig, compose: Compose) -> None:
    """Plans the cells of a grid, or the one run, and submits them."""
    from launch.planning import show
    from launch.submission import submit
    from launch.submission.sbatch import check_name

    logging.basicConfig(format="%(message)s")
    check_name(Path.cwd())
    params = OmegaConf.select(settings, "hydra.sweeper.params") or {}
    overrides = read([*(f"{key}={value}" for key, value in params.items()), *words])
    hydras = [o.input_line or "" for o in overrides if o.is_hydra_override()]
    typed = cells([o for o in overrides if not o.is_hydra_override()])
    chosen = plan(command, typed, settings_of(typed, lambda cell: compose([*hydras, *cell])))
    if chosen.dry_run:
        show.plan(chosen, submit.script_of(chosen))
    else:
        show.fates(chosen, submit.submit(chosen))
