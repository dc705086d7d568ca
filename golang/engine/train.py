"""`train`: from settings and a folder to a finished run, on every rank."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from golang.config import Config
from golang.data.sets import check_root
from golang.engine import causes, checkpoint
from golang.engine.distributed import ControlGroup, World, join, leave, pick_device, read_world
from golang.engine.preemption import StopListener
from golang.engine.runfolder import Attempt, RunFolder
from golang.engine.scheduler import Scheduler
from golang.engine.state import versions
from golang.engine.trainer import Outcome, Start, Trainer
from golang.errors import GolangError
from golang.initial import pinned
from golang.tracking.mirror import Mirror
from golang.validation import check, check_world

log = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def train(
    config: Config,
    run_dir: Path | str,
    show_progress: bool = True,
    scheduler: Scheduler | None = None,
    mirror: Mirror | None = None,
) -> Outcome:
    """Trains the run in `run_dir` until it is finished or asked to stop; an existing run is continued.

    Alone, under torchrun or under Slurm: every rank calls it with the same arguments. Raises a GolangError for
    anything a person has to mend; what is on disk is never lost by it. A `scheduler` hears from rank 0. With a `mirror`
    W&B's run stays open after the last step, for what the caller still has to say there.
    """
    check(config)
    config = pinned(config)
    world = read_world() or World()
    check_world(config, world.size)
    check_root(config.data)
    device = pick_device(config.device, world.local_rank, world.local_size)
    _set_up_torch(config, device, world)
    with StopListener() as listener:
        join(world, device)
        control = ControlGroup(world)
        try:
            with contextlib.ExitStack() as held:
                start = _first_rank_opens(config, Path(run_dir), world, device, control, held)
                if start is None:
                    log.info("%s is finished already; name=OTHER starts afresh", run_dir)
                    return Outcome.ALREADY
                held.enter_context(_log_file(start.attempt.path / f"rank{world.rank}.log"))
                held.enter_context(causes.recorded(start.attempt, world.rank))
                mirror = mirror or held.enter_context(Mirror())
                shown = show_progress and world.rank == 0
                trainer = Trainer(config, start, world, device, control, listener, mirror, shown)
                trainer.tell(scheduler)
                return trainer.run()
        finally:
            leave()


def _first_rank_opens(
    config: Config, path: Path, world: World, device: torch.device, control: ControlGroup, held: contextlib.ExitStack
) -> Start | None:
    """Rank 0 takes the folder and says to all what is in it; None if the run is finished. Its error is everyone's."""
    news: dict[str, Any] = {}
    failure: GolangError | None = None
    if world.rank == 0:
        try:
            run = RunFolder.create(path, config)
            held.enter_context(run.hold())
            if run.done:
                news = {"done": True}
            else:
                found = checkpoint.latest(run)
                resume = found[0] if found else None
                attempt = run.start_attempt(world.size, versions(device), resume.name if resume else None)
                news = {"attempt": attempt.number, "resume": resume.name if resume else None}
        except GolangError as error:
            failure, news = error, {"error": str(error)}
    news = json.loads(control.broadcast(json.dumps(news)))
    if failure is not None:
        raise failure
    if "error" in news:
        raise GolangError(f"rank 0: {news['error']}")
    if "done" in news:
        return None
    run = RunFolder(path)
    return Start(Attempt(run, news["attempt"]), run.checkpoints / news["resume"] if news["resume"] else None)


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


def _set_up_torch(config: Config, device: torch.device, world: World) -> None:
    """Threads and determinism. OMP_NUM_THREADS, where set, has the last word on threads."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not config.deterministic
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        keep_freed_memory()
        if "OMP_NUM_THREADS" not in os.environ:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            torch.set_num_threads(max(1, cores // world.local_size - config.data.workers))
    torch.use_deterministic_algorithms(config.deterministic)
    torch.manual_seed(config.seed)


def keep_freed_memory() -> None:
    """Has glibc keep what a step frees for the next one, which asks for the same again.

    By default every large tensor is mapped anew, and the kernel zeroes its pages at first touch: an eighth of a small
    trunk's step. Elsewhere than on glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
