"""One rank as a process: training, then the evaluations of its end, as an exit status."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from golang import exits, logs
from golang.config import Config
from golang.config.labels import has_labels, lacking
from golang.engine.doorway import prepare
from golang.engine.listeners import Listener
from golang.engine.rank import Rank, join
from golang.engine.session import Outcome
from golang.engine.stops import PARENT_PIPE, watch_parent
from golang.errors import FirstRankError, GolangError, UnlabelledError
from golang.processes.train import own_listeners
from golang.runfolder.evaluations import leave_unprobed
from golang.runfolder.folder import RunFolder
from golang.tracking.mirror import Mirror
from golang.training import trainer
from golang.world import World

log = logging.getLogger("golang")


def work(config: Config, run_dir: Path, world: World, listeners: Sequence[Listener] = ()) -> int:
    """Does what `config`, which has been through `prepare`, asks for, as a rank of `world`; the exit status: 0
    finished, 75 stopped and saved, else an error's own."""
    logs.set_up(world.rank)
    if PARENT_PIPE in os.environ:
        watch_parent(int(os.environ[PARENT_PIPE]), gone=lambda: os._exit(exits.ORPHANED))
    try:
        with Mirror() as mirror:
            with join(config, world) as rank:
                outcome = _together(config, run_dir, rank, listeners, mirror)
            if outcome is Outcome.STOPPED:
                return exits.STOPPED
            if world.rank == 0:
                _afterwards(config, run_dir, outcome)
        return 0
    except GolangError as error:
        if not isinstance(error, FirstRankError):
            log.error("%s", error)
        return error.exit_status
    except KeyboardInterrupt:
        log.error("interrupted while evaluating; the training is done, and the same command evaluates again")
        return exits.INTERRUPTED


def _together(config: Config, run_dir: Path, rank: Rank, listeners: Sequence[Listener], mirror: Mirror) -> Outcome:
    """What needs all ranks."""
    if config.evaluation.checkpoint is not None:
        from golang.evaluation.job import evaluate  # scikit-learn, which only measuring needs

        return evaluate(config, run_dir, rank, listeners)
    told = (*listeners, *own_listeners(config, run_dir, mirror))
    outcome = trainer.train(config, run_dir, rank, told)
    if config.evaluation.protocol and outcome is not Outcome.STOPPED:
        from golang.evaluation.job import evaluate_run

        return evaluate_run(config, run_dir, rank, listeners)
    return outcome


def _afterwards(config: Config, run_dir: Path, outcome: Outcome) -> None:
    """What rank 0 does alone once the others have left."""
    if config.evaluation.checkpoint is not None:
        from golang.evaluation.job import track

        if outcome is Outcome.FINISHED:
            track(run_dir, config)
    elif config.evaluation.probe and not has_labels(config.data):
        log.info("there is nothing to probe: %s", lacking(config.data))
    elif config.evaluation.probe:
        from golang.evaluation.summary import show_results

        try:
            show_results(run_dir)
        except UnlabelledError as error:
            log.info("there is nothing to probe: %s", error)
            leave_unprobed(run_dir, str(error))


def main(run_dir: str) -> int:
    """`python -m golang RUN_DIR`: trains or continues the run that is frozen in a folder."""
    try:
        world = World.read()
        config = prepare(RunFolder(run_dir).config(), world, Path(run_dir))
    except GolangError as error:
        logs.set_up(0)
        log.error("%s", error)
        return error.exit_status
    return work(config, Path(run_dir), world)
