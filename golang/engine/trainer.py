"""The training loop: one attempt at a run, from where its folder says it stands to its end or to a stop."""

from __future__ import annotations

import contextlib
import enum
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from golang import initial
from golang.config import Config
from golang.data import loader as loading
from golang.data.images import ImageSet
from golang.data.multicrop import Crops, MultiCrop, on_device
from golang.data.sampler import StepSampler
from golang.data.sets import open_train, place
from golang.engine import causes, checkpoint, state
from golang.engine.distributed import data_parallel, peers
from golang.engine.health import NEVER, Meter, Sentinel
from golang.engine.optim import build_optimizer, learning_rates
from golang.engine.preemption import STOP_SIGNALS, Agreement, Vigil
from golang.engine.report import Pace, Reporter
from golang.engine.runfolder import Attempt
from golang.engine.scheduler import Scheduler
from golang.engine.seat import Seat, leave_together
from golang.engine.step import TrainStep
from golang.engine.transfer import Transfer
from golang.engine.unreadable import Unreadable
from golang.engine.watchdog import Watchdog
from golang.errors import CheckpointError, DataError, NonFiniteError
from golang.evaluation.during import PeriodicProbe
from golang.method.build import build_model
from golang.method.permutations import local_permutations
from golang.tracking.mirror import Mirror
from golang.validation import local_views
from golang.weights import load_into

log = logging.getLogger(__name__)
GRACE = 25.0  # seconds for the ranks to be gathered once they agreed to stop, however long the step before took
PATIENCE = 600.0  # seconds for a periodic save


class Outcome(enum.Enum):
    FINISHED = "finished"
    ALREADY = "finished before"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Start:
    """What the first rank found in the run folder."""

    attempt: Attempt
    resume: Path | None


class Trainer:
    """One attempt at a run, on one rank."""

    def __init__(
        self,
        config: Config,
        start: Start,
        seat: Seat,
        watchdog: Watchdog,
        mirror: Mirror,
        show_progress: bool,
    ) -> None:
        world, device = seat.world, seat.device
        self.config, self.world, self.device = config, world, device
        self.control, self.listener, self.watchdog = seat.control, seat.listener, watchdog
        self.attempt, self.folder = start.attempt, start.attempt.run
        self.images = self._open_images()
        self.steps_per_epoch = len(self.images) // config.optim.batch_size
        self.total = self.steps_per_epoch * config.optim.epochs
        self.sampler = StepSampler(
            len(self.images), config.optim.batch_size, self.total, config.seed, rank=world.rank, world=world.size
        )
        model = build_model(config).to(device, torch.float64 if config.precision == "fp64" else torch.float32)
        if start.resume is None and config.model.init:
            said = self.control.on_first_rank(lambda: load_into(model, initial.check(config)))
            log.info("%s", said or load_into(model, initial.check(config)))
        model.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rates = learning_rates(config.optim, self.steps_per_epoch)
        self.step = TrainStep(config, model, build_optimizer(config.optim, model), rates.tolist())
        self.transfer = Transfer(device)
        self.meter, self.sentinel = Meter(config, device), Sentinel.on(device)
        self.unreadable = Unreadable(self.images, place(config.data))
        self.done = 0  # steps
        if start.resume is not None:
            saved = checkpoint.read(start.resume)
            self.done = state.restore(saved, self.step, self.meter, self.sentinel, len(self.images))
            if "unreadable" in saved["ranks"]:  # not in checkpoints of earlier versions
                self.unreadable.restore(saved["ranks"]["unreadable"])
        self.control.on_first_rank(lambda: checkpoint.check_room(self.folder, state.size(self.step), self._kept()))
        self.step.forward = data_parallel(model)
        self.saver = checkpoint.Saver(self.attempt, config.checkpoint.keep_last, self._milestone)
        self.saver.last = start.resume
        self.saver.last_step = self.done if start.resume else None
        self.saved_at = time.monotonic()
        self.report = Reporter(config, self.attempt, world, mirror, self.steps_per_epoch, show_progress)
        self.scheduler: Scheduler | None = None
        self.probe = PeriodicProbe(config, self.folder.path)
        self.report.begin(self.done, len(self.images), device, start.resume)
        watchdog.tell = self._hung

    def tell(self, scheduler: Scheduler | None) -> None:
        """Lets `scheduler` know what concerns it."""
        self.scheduler = scheduler
        self.saver.first = scheduler.saved if scheduler else None

    def run(self) -> Outcome:
        """Trains to the end or to a stop, and leaves the folder saying how it ended."""
        try:
            with peers(lambda: f"step {self.done}; {self._stands()}"):
                stop = self._loop()
                self._save_last(stop)
        except BaseException:
            self.report.status("failed", self.done)
            raise
        finally:
            self.saver.wait()
        return self._leave(stop)

    def _loop(self) -> int:
        """Steps until all are done or all ranks agree to stop; returns the signal that stopped them, or 0."""
        agreement, pace = Agreement(self.control), Pace()
        with self.report, self._batches() as batches:
            self._probe()
            self.watchdog.beat("waiting for the first images")
            asked = time.monotonic()
            for batch in batches:
                pace.waited += time.monotonic() - asked
                self.watchdog.beat(f"in step {self.done + 1}")
                self.unreadable.note(batch.unreadable)
                self._train_on(batch)
                pace.steps += 1
                if self.done % self.config.log_every_steps == 0 or self.done == self.total:
                    self._log(pace)
                    pace = Pace()
                self.report.facts["save_seconds"] = self.saver.seconds
                self.report.step(self.done)
                due = time.monotonic() - self.saved_at > 60 * self.config.checkpoint.every_minutes
                stop, due = agreement.exchange(self.listener.signal, due and self.world.rank == 0)
                if self.done == self.total:
                    break
                if stop:
                    agreement.drain()
                    self.report.stopping(self.done)
                    return stop
                every = self.config.checkpoint.every_steps
                probed = self._probed(self.done)
                if due or probed or self._milestone(self.done) or (every and self.done % every == 0):
                    self._save(time.monotonic() + PATIENCE)
                if probed:
                    self._probe()
                self.watchdog.beat(f"waiting for the images of step {self.done + 1}")
                asked = time.monotonic()
            agreement.drain()
        return 0

    def _train_on(self, batch: Crops) -> None:
        config, step = self.config, self.step
        if self.done >= config.queue.start_epoch * self.steps_per_epoch:
            step.make_queues(self.world.size)
        dtype = torch.float64 if config.precision == "fp64" else torch.float32
        large, small = on_device(self.transfer(batch), self.device, dtype)
        permutations = None
        if config.method.name == "golang":
            share, kind = config.optim.batch_size // self.world.size, config.method.local_permutation
            first = self.world.rank * share
            drawn = local_permutations(kind, local_views(config), config.seed, self.done, first, share)
            # Only from page-locked memory is the copy one that the host does not wait for.
            pinned = drawn.pin_memory() if self.device.type == "cuda" else drawn
            permutations = pinned.to(self.device, non_blocking=True)
        losses = step(self.done, large, small, permutations)
        self.sentinel.look(self.done, losses.total, step.optimizer)
        self.meter.add(losses, step.signs, step.optimizer)
        self.done += 1

    def _log(self, pace: Pace) -> None:
        """A line of metrics: the means over ranks and steps since the last. The one place that waits for the device."""
        first = torch.tensor([int(self.sentinel.first)])
        work = self.control.maximum(first)
        if work is not None:
            work.wait()
        if int(first) != NEVER:
            raise self._non_finite(int(first))
        unreadable = self.unreadable.agree(self.control, name=self.world.rank == 0)
        sums = self.control.mean(self.meter.read())
        self.report.line(self.done, sums, int(self.sentinel.skipped), self.step, pace, unreadable)

    def _save(self, deadline: float) -> None:
        """One checkpoint of all ranks at this step; given up if the ranks can't be gathered by `deadline`."""
        self.watchdog.beat(f"saving step {self.done}")
        parts = state.rank_state(self.step, self.meter, self.sentinel) | {"unreadable": self.unreadable.pack()}
        gathered = state.gather(parts, self.control, deadline)
        if gathered is None:
            log.error("the ranks could not be gathered for a save at step %d; %s", self.done, self._stands())
            return
        first = int(gathered["non_finite"].max())
        if first != NEVER:
            raise self._non_finite(first)
        if self.world.rank == 0:
            packed = state.pack(self.step, self.done, gathered, len(self.images))
            self.saver.submit(self.done, checkpoint.snapshot(packed))
        self.saved_at = time.monotonic()

    def _save_last(self, stop: int) -> None:
        """The save that ends an attempt. A run whose last checkpoint can't be written is not finished."""
        self.saver.first = None
        self._save(time.monotonic() + (GRACE if stop else PATIENCE))
        self.saver.wait()
        if not stop and self.world.rank == 0 and self.saver.last_step != self.done:
            raise CheckpointError(
                f"all {self.done} steps are done, but the last checkpoint could not be written; {self._stands()}. "
                "Make room, and type the same command again"
            )

    def _leave(self, stop: int) -> Outcome:
        """Rank 0 says how the attempt ended, and does what is left to do while all others wait."""
        self.watchdog.beat("leaving")
        leave_together(self.control, lambda: self._last_duties(stop))
        return Outcome.STOPPED if stop else Outcome.FINISHED

    def _last_duties(self, stop: int) -> None:
        self.attempt.fence()
        if not stop:
            self.report.end("finished", "finished", self.done)
            return
        stopped = f"stopped ({STOP_SIGNALS[stop]}) at step {self.done} of {self.total}"
        log.info("%s; %s. The same command continues.", stopped, self._stands())
        self.report.facts["save_seconds"] = self.saver.seconds
        self.report.end("stopped", STOP_SIGNALS[stop], self.done, saved=self.saver.last_step)
        if self.scheduler is not None:
            self.scheduler.leaving(STOP_SIGNALS[stop])
        self.report.mirror.close("preempting")

    def _open_images(self) -> ImageSet:
        """Rank 0 first: it may have to write a generated set."""
        images = self.control.on_first_rank(lambda: open_train(self.config.data, labelled=False))
        return images or open_train(self.config.data, labelled=False)

    @contextlib.contextmanager
    def _batches(self) -> Iterator[Iterator[Crops]]:
        self.sampler.start_step = self.done
        dataset = MultiCrop(self.images, self.config.augment, self.config.seed, self.config.data.pipeline)
        loader = loading.train_loader(dataset, self.sampler, self.config.data.workers, self.device.type == "cuda")
        batches = iter(loader)
        try:
            yield batches
        except DataError as error:
            raise loading.own_words(error) from None
        finally:
            loading.close(batches)

    def _milestone(self, step: int) -> bool:
        epochs = self.config.checkpoint.keep_every_epochs
        return step == self.total or (epochs > 0 and step % (epochs * self.steps_per_epoch) == 0)

    def _kept(self) -> int:
        """How many checkpoints the run has at its end, with the one that is being written."""
        every = self.config.checkpoint.keep_every_epochs
        return self.config.checkpoint.keep_last + 1 + (self.config.optim.epochs // every if every else 0)

    def _probed(self, step: int) -> bool:
        epochs = self.config.evaluation.probe_every_epochs
        return epochs > 0 and step > 0 and step % (epochs * self.steps_per_epoch) == 0

    def _probe(self) -> None:
        """The linear probe, where one is due, unless it was taken before an interruption. The other ranks wait."""
        if not self._probed(self.done):
            return
        doing = f"probing after step {self.done}"
        self.watchdog.beat(doing)
        vigil = Vigil(self.control, self.listener, lambda: self.watchdog.beat(doing))
        if self.world.rank != 0:
            vigil.wait()
            return
        try:
            epoch = self.done // self.steps_per_epoch
            self.probe.measure(self.step.model.trunk, self.done, epoch, self.device, vigil.stopped)
        finally:
            vigil.over()

    def _hung(self, said: str) -> None:
        message = f"{said}; the stacks of all threads are in {self.watchdog.stacks}"
        log.error("%s", message)
        causes.leave_word(self.attempt, self.world.rank, causes.Cause(causes.HANG, retry=True), message)
        self.report.end("failed", causes.HANG, self.done, message=message)

    def _non_finite(self, step: int) -> NonFiniteError:
        return NonFiniteError(
            f"the loss or a gradient stopped being a finite number at step {step}; {self._stands()}. Try a lower "
            f"optim.base_lr (now {self.config.optim.base_lr}), precision=bf16 or fp32 (now {self.config.precision}), "
            f"or a larger method.epsilon (now {self.config.method.epsilon})"
        )

    def _stands(self) -> str:
        self.saver.wait()
        return f"the last checkpoint is {self.saver.last}" if self.saver.last else "there is no checkpoint yet"
