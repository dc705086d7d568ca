"""An evaluation as a run of its own: a folder, attempts, checkpoints and stops like those of training."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

import torch

from golang import initial, weights
from golang.config import Config
from golang.data.images import ImageSet
from golang.data.sets import check_root, open_labelled, open_val
from golang.engine import checkpoint
from golang.engine.distributed import peers
from golang.engine.preemption import STOP_SIGNALS
from golang.engine.private import make_private, stays_inside
from golang.engine.runfolder import RunFolder, now, write_atomically
from golang.engine.scheduler import Scheduler
from golang.engine.seat import Seat, leave_together, take
from golang.engine.train import open_run
from golang.engine.trainer import Outcome, Start
from golang.engine.watchdog import Watchdog
from golang.errors import CheckpointError, ConfigError
from golang.evaluation import features as feature
from golang.evaluation import knn, protocols, wanted
from golang.evaluation.features import Interruption
from golang.evaluation.supervised import Supervised
from golang.evaluation.watch import Watch
from golang.method.trunk import Trunk, build_trunk
from golang.tracking.client import TrackingError, mode_of
from golang.tracking.publish import publish
from golang.validation import check

log = logging.getLogger(__name__)


def evaluate(config: Config, run_dir: Path, results: Path | None = None, scheduler: Scheduler | None = None) -> Outcome:
    """Measures `evaluation.checkpoint` by `evaluation.protocol` on `data`, from where the folder says it stands to its
    end or to a stop; result.json is then in `results` (default: in the run's evaluation/ if it is of a run, else in
    this one's).

    Every rank calls it, as `train`; the errors are the same, and CheckpointError for weights that are not whole.
    """
    check(config)
    config = initial.pinned(config)
    check_root(config.data, ("train", "val"))
    place = results or wanted.results_of(config, run_dir)
    if results is None:
        for folder in (place.parent, place):  # of a run that others may have made
            stays_inside(folder)
    with take(config) as seat:
        outcome = _evaluate(config, run_dir, place, seat, scheduler)
        first = seat.world.rank == 0
    if first and results is None and outcome is Outcome.FINISHED:
        track(run_dir, config)
    return outcome


def evaluate_run(config: Config, run_dir: Path, seat: Seat, scheduler: Scheduler | None = None) -> Outcome:
    """Measures the end of a run by each protocol it asks for; what has a result is left alone."""
    for one in wanted.of_run(config, run_dir):
        results = wanted.results_of(one, run_dir)
        if _evaluate(one, results, results, seat, scheduler) is Outcome.STOPPED:
            return Outcome.STOPPED
    return Outcome.FINISHED


def track(run_dir: Path, config: Config) -> None:
    """Shows the results of a run, or of the run that an evaluation measured, on W&B too, as one of job type eval beside
    it: where these settings or that run's own want it tracked."""
    mode = mode_of(config) or mode_of(RunFolder(wanted.measured(config, run_dir)).config())
    if mode is None:
        return
    try:
        log.info("W&B: %s", publish(run_dir, mode == "offline", job_type="eval"))
    except (ConfigError, TrackingError) as error:
        log.warning("W&B: %s", error)


def _evaluate(config: Config, run_dir: Path, results: Path, seat: Seat, scheduler: Scheduler | None) -> Outcome:
    with contextlib.ExitStack() as held:
        start = open_run(config, run_dir, seat, held)
        if start is None:
            log.info("%s is finished already: %s", run_dir, results / "result.json")
            return Outcome.ALREADY
        return _Job(config, start, results, seat).run(scheduler)


class _Job:
    """One attempt, on one rank."""

    def __init__(self, config: Config, start: Start, results: Path, seat: Seat) -> None:
        self.config, self.attempt, self.results, self.seat = config, start.attempt, results, seat
        self.resume = start.resume
        (self.name,) = config.evaluation.protocol
        stacks = start.attempt.path / f"rank{seat.world.rank}.stacks"
        self.watchdog = Watchdog(config.hang_seconds, stacks, lambda said: self._end("failed", "hang", message=said))
        self.watch = Watch(seat, start.attempt, config.checkpoint, self.watchdog)
        self.watch.facts |= {"host": socket.gethostname(), "pid": os.getpid()}

    def run(self, scheduler: Scheduler | None) -> Outcome:
        with self.watchdog:
            return self._run(scheduler)

    def _run(self, scheduler: Scheduler | None) -> Outcome:
        try:
            with peers(lambda: f"step {self.watch.done}"):
                result = self._measure()
                self.watch.saver.wait()
        except Interruption as stop:
            return self._leave(STOP_SIGNALS[stop.args[0]], scheduler)
        except BaseException:
            if self.seat.world.rank == 0:
                self.watch.status("failed")
            raise
        finally:
            self.watch.saver.wait()
        leave_together(self.seat.control, lambda: self._finish(result))
        return Outcome.FINISHED

    def _measure(self) -> dict[str, Any]:
        config, control = self.config, self.seat.control
        self.watch.status("running")
        self.watchdog.beat("reading the images")
        control.on_first_rank(lambda: open_val(config.data))  # it may have to write a generated set
        train, test = open_labelled(config.data)
        trunk, origin = control.on_first_rank(self._trunk) or self._trunk()
        whole = feature.takes_whole(config.data)
        dtype = torch.float64 if config.precision == "fp64" else torch.float32
        log.info("%s of %s: %d + %d images, %d × %s", self.name, origin, len(train), len(test), self.seat.world.size,
                 self.seat.device.type)  # fmt: skip
        if self.name == "knn":
            return self._neighbours(trunk.to(self.seat.device, dtype), origin, train, test, whole)
        protocol = protocols.find(self.name, config.evaluation.published)
        one = Supervised(protocol, trunk, train, test, self.seat, config.data.workers, whole, origin, dtype)
        if self.resume is not None:
            one.restore(checkpoint.read(self.resume))
        if self.seat.world.rank == 0:
            make_private(self.results)
            names = [train.path(i).name for i in one.subset.tolist()]
            write_atomically(self.results / "subset.json", json.dumps({"seed": protocols.SEED, "images": names}))
        return one.run(self.watch)

    def _neighbours(self, trunk: Trunk, origin: str, train: ImageSet, test: ImageSet, whole: bool) -> dict[str, Any]:
        facts = {"name": "knn", "neighbours": knn.NEIGHBOURS, "temperature": knn.TEMPERATURE}
        workers = self.config.data.workers
        found = knn.evaluate(trunk, train, test, self.seat, whole, workers, self.watch.ask)
        return {"protocol": facts, "checkpoint": origin, **found}

    def _trunk(self) -> tuple[Trunk, str]:
        """The trunk to measure, and where it is from."""
        asked = self.config.evaluation
        if asked.run:
            parent = RunFolder(asked.checkpoint or "")
            if not parent.done:
                raise CheckpointError(f"{parent.path} is to be evaluated once it is finished, and it is not; train it")
            return load_trunk(weights.find(parent.path))
        return load_trunk(initial.unchanged("checkpoint", asked.checkpoint or "", asked.checkpoint_sha256))

    def _finish(self, result: dict[str, Any]) -> None:
        self.attempt.fence()
        make_private(self.results)
        write_atomically(self.results / "result.json", json.dumps(result, indent=1) + "\n")
        self.watch.facts["mAP"] = result["mAP"]
        self._end("finished", "finished")
        write_atomically(self.attempt.run.done_file, f"mAP {result['mAP']:.4f}, {now()}\n")
        log.info("%s: mAP %.2f; %s", self.name, result["mAP"], self.results / "result.json")

    def _leave(self, cause: str, scheduler: Scheduler | None) -> Outcome:
        def duties() -> None:
            self.attempt.fence()
            log.info("stopped (%s) at step %d of %d. The same command continues.", cause, self.watch.done,
                     self.watch.total)  # fmt: skip
            self._end("stopped", cause, saved=self.watch.saver.last_step)
            if scheduler is not None:
                scheduler.leaving(cause)

        leave_together(self.seat.control, duties)
        return Outcome.STOPPED

    def _end(self, condition: str, cause: str, **facts: object) -> None:
        if self.seat.world.rank == 0:
            self.watch.status(condition)
            self.attempt.write_cause(cause, self.watch.done, **facts)


def load_trunk(file: Path) -> tuple[Trunk, str]:
    """The trunk of a checkpoint of any layout, and the file it is from. Raises CheckpointError when it is not whole."""
    found = weights.read(file)
    trunk = build_trunk(found.trunk)
    if lacking := found.missing("trunk"):
        raise CheckpointError(f"{file} lacks {len(lacking)} tensors of a {found.trunk}, such as {lacking[0]}")
    own = {name.removeprefix("trunk."): value for name, value in found.tensors.items() if name.startswith("trunk.")}
    trunk.load_state_dict(own)
    return trunk, str(file)
