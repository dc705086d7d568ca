"""The training loop: from where a run's folder says it stands to its end, or to a stop."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from golang.config import Config
from golang.config.doubts import doubts
from golang.data import loader as loading
from golang.data.crops.multicrop import Crops, MultiCrop, on_device
from golang.data.crops.transfer import Transfer
from golang.data.sampler import StepSampler
from golang.data.sets import check_words, open_train
from golang.engine import session
from golang.engine.distributed import data_parallel
from golang.engine.listeners import Listener
from golang.engine.rank import Rank
from golang.engine.session import LastWords, Outcome, Session
from golang.engine.stops import Stopped
from golang.errors import CheckpointError, DataError, NonFiniteError
from golang.method import permutations
from golang.method.model import build_model
from golang.runfolder import checkpoints, pinned
from golang.settled import open_unchanged
from golang.training import checkpoint
from golang.training.graphs import TrunkGraphs
from golang.training.meters import NEVER, Meter, Sentinel
from golang.training.optim import build_optimizer, learning_rates
from golang.training.reporter import Pace, Reporter
from golang.training.step import TrainStep
from golang.training.unreadable import Unreadable
from golang.weights import sealed
from golang.weights.layouts import load_into

log = logging.getLogger(__name__)
GRACE = 25.0  # seconds for the ranks to be gathered once they agreed to stop, however long the step before took
PATIENCE = 600.0  # seconds for a periodic save


def train(
    config: Config, run_dir: Path, rank: Rank, listeners: Sequence[Listener] = (), show_progress: bool = True
) -> Outcome:
    """Trains the run in `run_dir` on every rank, settings checked and pinned; an existing run is continued."""
    return session.attempt(config, run_dir, rank, listeners, lambda own: Trainer(own, show_progress).run())


class Trainer:
    """One attempt at a run, on one rank."""

    def __init__(self, session: Session, show_progress: bool) -> None:
        self.session, self.config = session, session.config
        self.world, self.device, self.control = session.rank.world, session.rank.device, session.rank.control
        config, device = self.config, self.device
        images = self.control.on_first_rank(lambda: open_unchanged(config.data))  # it may write a toy set
        self.images = images or open_train(config.data, labelled=False)
        self.steps_per_epoch = len(self.images) // config.optim.batch_size
        session.total = self.steps_per_epoch * config.optim.epochs
        for line in self.images.said if self.world.rank == 0 else ():
            log.info("data: %s", line)
        for doubt in doubts(config, len(self.images)) if self.world.rank == 0 else ():
            log.warning("%s", doubt)
        self.sampler = StepSampler(
            len(self.images), config.optim.batch_size, session.total, config.seed,
            rank=self.world.rank, world=self.world.size,
        )  # fmt: skip
        self.dtype = torch.float64 if config.precision == "fp64" else torch.float32
        model = build_model(config).to(device, self.dtype)
        if session.resume is None and config.model.init:
            said = self.control.on_first_rank(lambda: load_into(model, pinned.check(config)))
            log.info("%s", said or load_into(model, pinned.check(config)))
        model.trunk.to(memory_format=torch.channels_last)
        rates = learning_rates(config.optim, self.steps_per_epoch)
        self.step = TrainStep(config, model, build_optimizer(config.optim, model), rates.tolist())
        self.transfer = Transfer(device)
        self.meter, self.sentinel = Meter(config, device), Sentinel.on(device)
        self.unreadable = Unreadable(self.images, check_words(config.data))
        if session.resume is not None:
            self._resume(session.resume)
        size = checkpoint.size(self.step)
        self.control.on_first_rank(lambda: checkpoints.check_room(session.attempt.run, size, self._kept()))
        if config.cuda_graphs and device.type == "cuda":
            model.feature_maps = TrunkGraphs(
                model.trunk, config, config.optim.batch_size // (self.world.size * config.optim.accumulate)
            )
        elif config.cuda_graphs:
            log.warning("cuda_graphs=true changes nothing here: this run trains on a processor")
        self.step.forward = data_parallel(model)
        session.saver.keep(self._milestone)
        self.reporter = Reporter(session, self.steps_per_epoch, show_progress)
        self.reporter.begin(len(self.images))

    def run(self) -> LastWords:
        """Trains to the end. Raises Stopped, once all is saved, where all ranks agreed to stop."""
        self.session.stage(("train", "val") if self.config.evaluation.probe_every_epochs else ("train",))
        if self.config.data.stage:
            self.images = self.unreadable.images = open_train(self.config.data, labelled=False)
        try:
            self._loop()
        except Stopped:
            self._save(GRACE)
            raise
        self._save_last()
        return self.reporter.finished

    def _loop(self) -> None:
        session, pace = self.session, Pace()
        with self.reporter, self._batches() as batches:
            self._look()
            session.beat("waiting for the first images")
            asked = time.monotonic()
            for batch in batches:
                pace.waited += time.monotonic() - asked
                session.beat(f"in step {session.done + 1}")
                self.unreadable.note(batch.unreadable)
                self._train_on(batch)
                pace.steps += 1
                done = session.done + 1
                if done % self.config.log_every_steps == 0 or done == session.total:
                    self._log(done, pace)
                    pace = Pace()
                self.reporter.step(done)
                due = session.step(done)
                if done == session.total:
                    break
                watched = self._watched()
                if due or watched or self._milestone(done):
                    self._save(PATIENCE)
                self._look()
                session.beat(f"waiting for the images of step {done + 1}")
                asked = time.monotonic()

    def _train_on(self, batch: Crops) -> None:
        config, step, number = self.config, self.step, self.session.done
        if number >= config.queue.start_epoch * self.steps_per_epoch:
            step.make_queues(self.world.size)
        large, small = on_device(self.transfer(batch), self.device, self.dtype)
        drawn = permutations.of_step(config, number, self.world.rank, self.world.size)
        if drawn is not None:
            # Only from page-locked memory is the copy one that the host does not wait for.
            drawn = (drawn.pin_memory() if self.device.type == "cuda" else drawn).to(self.device, non_blocking=True)
        losses = step(number, large, small, drawn)
        self.sentinel.look(number, losses.total, step.optimizer)
        self.meter.add(losses, step.signs, step.optimizer)

    def _log(self, done: int, pace: Pace) -> None:
        """A line of metrics: the means over ranks and steps since the last. The one place that waits for the device."""
        first = int(self.control.maximum(torch.tensor([int(self.sentinel.first)])))
        if first != NEVER:
            raise self._non_finite(first)
        unreadable = self.unreadable.agree(self.control, name=self.session.rank.first)
        sums = self.control.mean(self.meter.read())
        self.reporter.line(done, sums, int(self.sentinel.skipped), self.step, pace, unreadable)

    def _save(self, patience: float) -> None:
        """One checkpoint of all ranks at this step; given up if they can't be gathered within `patience` seconds."""
        session = self.session
        session.beat(f"saving step {session.done}")
        parts = checkpoint.rank_state(self.step, self.meter, self.sentinel) | {"unreadable": self.unreadable.pack()}
        gathered = checkpoint.gather(parts, self.control, time.monotonic() + patience)
        if gathered is None:
            log.error("the ranks could not be gathered for a save at step %d; %s", session.done, session.stands())
            return
        first = int(gathered["non_finite"].max())
        if first != NEVER:
            raise self._non_finite(first)
        session.save(lambda: checkpoint.pack(self.step, session.done, gathered, len(self.images)))

    def _save_last(self) -> None:
        """The save that ends a run. One whose last checkpoint can't be written is not finished."""
        session = self.session
        session.saver.periodic = None
        self._save(PATIENCE)
        session.saver.wait()
        if session.rank.first and session.saver.last_step != session.done:
            raise CheckpointError(
                f"all {session.done} steps are done, but the last checkpoint could not be written; {session.stands()}. "
                "Make room, and type the same command again"
            )

    def _resume(self, file: Path) -> None:
        saved = sealed.read(file)
        self.session.done = checkpoint.restore(saved, self.step, self.meter, self.sentinel, len(self.images))
        if "unreadable" in saved["ranks"]:  # not in checkpoints of earlier versions
            self.unreadable.restore(saved["ranks"]["unreadable"])

    @contextlib.contextmanager
    def _batches(self) -> Iterator[Iterator[Crops]]:
        self.sampler.start_step = self.session.done
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
        return step == self.session.total or (epochs > 0 and step % (epochs * self.steps_per_epoch) == 0)

    def _kept(self) -> int:
        """How many checkpoints the run has at its end, with the one that is being written."""
        every = self.config.checkpoint.keep_every_epochs
        return self.config.checkpoint.keep_last + 1 + (self.config.optim.epochs // every if every else 0)

    def _watched(self) -> bool:
        """Whether a listener wants to look at the network as it is now, at the end of an epoch."""
        epochs, rest = divmod(self.session.done, self.steps_per_epoch)
        return epochs > 0 and rest == 0 and any(listener.due(epochs) for listener in self.session.listeners)

    def _look(self) -> None:
        session = self.session
        if self._watched():
            with session.alone(f"probing after step {session.done}") as stopped:
                if stopped is not None:
                    trunk, epochs = self.step.model.trunk, session.done // self.steps_per_epoch
                    session.tell(lambda listener: listener.look(trunk, session.done, epochs, stopped))

    def _non_finite(self, step: int) -> NonFiniteError:
        return NonFiniteError(
            f"the loss or a gradient became NaN or Inf at step {step}; {self.session.stands()}. Try a lower "
            f"optim.base_lr (now {self.config.optim.base_lr}), precision=bf16 or fp32 (now {self.config.precision}), "
            f"or a larger method.epsilon (now {self.config.method.epsilon})"
        )
