"""`train`: from settings and a folder to a finished run, on every rank."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from golang.config import Config
from golang.data.sets import check_root
from golang.engine import causes, checkpoint
from golang.engine.distributed import World, peers, read_world
from golang.engine.runfolder import Attempt, RunFolder
from golang.engine.scheduler import Scheduler
from golang.engine.seat import Seat, take
from golang.engine.state import versions
from golang.engine.trainer import Outcome, Start, Trainer
from golang.engine.watchdog import Watchdog
from golang.errors import GolangError
from golang.initial import pinned
from golang.tracking.mirror import Mirror
from golang.validation import check, check_world

log = logging.getLogger(__name__)


def train(
    config: Config,
    run_dir: Path | str,
    show_progress: bool = True,
    scheduler: Scheduler | None = None,
    mirror: Mirror | None = None,
    afterwards: Callable[[Seat], Outcome] | None = None,
) -> Outcome:
    """Trains the run in `run_dir` until it is finished or asked to stop; an existing run is continued.

    Alone, under torchrun or under Slurm: every rank calls it with the same arguments. Raises a GolangError for
    anything a person has to mend; what is on disk is never lost by it. A `scheduler` hears from rank 0. With a `mirror`
    W&B's run stays open after the last step, for what the caller still has to say there. Once the run is finished, be
    it by now, every rank goes on with `afterwards`, whose outcome is returned.
    """
    check(config)
    config = pinned(config)
    check_world(config, (read_world() or World()).size)
    check_root(config.data)
    with take(config) as seat:
        outcome = _train(config, Path(run_dir), seat, show_progress, scheduler, mirror)
        if outcome is not Outcome.STOPPED and afterwards is not None:
            outcome = afterwards(seat)
        return outcome


def _train(
    config: Config,
    run_dir: Path,
    seat: Seat,
    show_progress: bool,
    scheduler: Scheduler | None,
    mirror: Mirror | None,
) -> Outcome:
    with contextlib.ExitStack() as held:
        start = open_run(config, run_dir, seat, held)
        if start is None:
            log.info("%s is finished already; name=OTHER starts afresh", run_dir)
            return Outcome.ALREADY
        shown = show_progress and seat.world.rank == 0
        mirror = mirror or held.enter_context(Mirror())

        def hung(said: str) -> None:  # before the trainer takes over saying it
            log.error("%s", said)
            causes.leave_word(start.attempt, seat.world.rank, causes.Cause(causes.HANG, retry=True), said)
            if seat.world.rank == 0:
                start.attempt.write_cause(causes.HANG, 0, message=said)

        with Watchdog(config.hang_seconds, start.attempt.path / f"rank{seat.world.rank}.stacks", hung) as watchdog:
            with peers(lambda: "the start"):
                trainer = Trainer(config, start, seat, watchdog, mirror, shown)
            trainer.tell(scheduler)
            return trainer.run()


def open_run(config: Config, path: Path, seat: Seat, held: contextlib.ExitStack) -> Start | None:
    """Rank 0 takes the folder and says to all what is in it; None if the run is finished. Its error is everyone's.
    Until `held` is left, the folder is this process group's, and each rank's log and failure go there too. A finished
    run whose last checkpoint is damaged is not finished; one whose checkpoints were deleted is."""
    world, control = seat.world, seat.control

    def first() -> dict[str, Any]:
        run = RunFolder.create(path, config)
        held.enter_context(run.hold())
        found = checkpoint.latest(run)
        resume = found[0].name if found else None
        newest = next((entry.path.name for entry in checkpoint.lineage(run)), None)
        if run.done and resume == newest:
            return {"done": True}
        run.done_file.unlink(missing_ok=True)
        return {"attempt": run.start_attempt(world.size, versions(seat.device), resume).number, "resume": resume}

    news = json.loads(control.broadcast(json.dumps(control.on_first_rank(first))))
    if "done" in news:
        return None
    run = RunFolder(path)
    attempt = Attempt(run, news["attempt"])
    held.enter_context(_log_file(attempt.path / f"rank{world.rank}.log"))
    held.enter_context(causes.recorded(attempt, world.rank))
    return Start(attempt, run.checkpoints / news["resume"] if news["resume"] else None)


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Everything this rank says while entered goes to its file in the attempt's folder too, a traceback included."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("golang")
    logger.addHandler(handler)
    try:
        yield
    except GolangError as error:
        # To the file alone: whoever catches it says it on the terminal.
        handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, str(error), (), None))
        raise
    except Exception:
        logger.exception("this rank failed")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()
