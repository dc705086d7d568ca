"""One rank as a process: logs, errors and exit statuses around `train`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from golang.config import Config
from golang.data.sets import check_root
from golang.engine.distributed import read_world
from golang.engine.preemption import INTERRUPTED, STOPPED, watch_parent
from golang.engine.runfolder import RunFolder
from golang.engine.scheduler import Scheduler
from golang.engine.seat import Seat
from golang.engine.train import train
from golang.engine.trainer import Outcome
from golang.errors import FirstRankError, GolangError
from golang.evaluation.wanted import of_run
from golang.tracking.mirror import Mirror

PARENT_PIPE = "GOLANG_PARENT_PIPE"
log = logging.getLogger("golang")


def work(config: Config, run_dir: Path, scheduler: Scheduler | None = None) -> int:
    """Trains as this process's rank; the exit status: 0 finished, 75 stopped and saved, else an error's own."""
    world = read_world()
    set_up_logging(world.rank if world else 0)
    if PARENT_PIPE in os.environ:
        watch_parent(int(os.environ[PARENT_PIPE]), gone=lambda: os._exit(137))
    try:
        if config.evaluation.checkpoint is not None:
            from golang.evaluation.job import evaluate  # scikit-learn, which only measuring needs

            return STOPPED if evaluate(config, run_dir, scheduler=scheduler) is Outcome.STOPPED else 0
        for one in of_run(config, run_dir):  # before a long training whose evaluation would find no images
            check_root(one.data, ("train", "val"))

        def evaluations(seat: Seat) -> Outcome:
            from golang.evaluation.job import evaluate_run

            return evaluate_run(config, run_dir, seat, scheduler)

        afterwards = evaluations if config.evaluation.protocol else None
        with Mirror() as mirror:
            if train(config, run_dir, scheduler=scheduler, mirror=mirror, afterwards=afterwards) is Outcome.STOPPED:
                return STOPPED
            if config.evaluation.probe and config.data.name == "folder":
                log.info("a folder of images has no labels, so there is nothing to probe")
            elif config.evaluation.probe and (world is None or world.rank == 0):
                from golang.demo import show_results  # what it needs beyond training is loaded only now

                show_results(run_dir)
        return 0
    except GolangError as error:
        if not isinstance(error, FirstRankError):
            log.error("%s", error)
        return error.exit_status
    except KeyboardInterrupt:
        log.error("interrupted while evaluating; the training is done, and the same command evaluates again")
        return INTERRUPTED


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard output at that moment: while a progress bar is shown, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def set_up_logging(rank: int) -> None:
    """Rank 0 speaks to the terminal; the others only of warnings, with their number."""
    handler = _Terminal()
    prefix = "" if rank == 0 else f"rank {rank}: "
    handler.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(message)s", "%H:%M:%S"))
    root = logging.getLogger("golang")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    root.propagate = False


def main(run_dir: str) -> int:
    """`python -m golang RUN_DIR`: trains or continues the run that is frozen in a folder."""
    try:
        config = RunFolder(run_dir).config()
    except GolangError as error:
        set_up_logging(0)
        log.error("%s", error)
        return error.exit_status
    return work(config, Path(run_dir))
