"""Fine-tunes a trunk on a task and scores it, in three parts: training, batch norm's last statistics, scoring.

It goes on after an interruption from the step it was saved at, to the same bits; of the other two parts each is done
anew. Several ranks do what one does: each takes its part of every batch, losses are divided by what all ranks counted,
gradients are summed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from golang.collectives import sum_gradients
from golang.data import loader as loading
from golang.data.loader import Loader
from golang.engine.session import Session
from golang.engine.stops import Stopped
from golang.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from golang.evaluation.features import cut
from golang.evaluation.transfer import numbers
from golang.evaluation.transfer.batches import plan
from golang.evaluation.transfer.networks.losses import over_ranks
from golang.evaluation.transfer.norms import PopulationStatistics
from golang.evaluation.transfer.tasks import Item, Task

log = logging.getLogger(__name__)
TRAINING, NORMS, SCORING = ("training", "norms", "scoring")
LOG_EVERY = 50  # steps


class FineTuning:
    """One evaluation: a task, which has the network, the images and the protocol."""

    def __init__(self, task: Task, session: Session, folder: Path) -> None:
        """`folder`: where what was found is kept beside the result."""
        self.folder = folder
        self.task, self.protocol, self.session, self.rank = task, task.protocol, session, session.rank
        world = self.rank.world
        if self.protocol.batch_size < world.size:
            raise ConfigError(
                f"a batch of {self.protocol.batch_size} images has none for some of {world.size} ranks; start fewer"
            )
        self.fingerprint = _identity(task)
        task.network.to(self.rank.device)
        self.optimizer = torch.optim.SGD(_groups(task), lr=self.protocol.rate(0), momentum=numbers.MOMENTUM)
        self.part = TRAINING
        self.history: list[dict[str, float]] = []  # the losses of every LOG_EVERYth step
        self.epoch_steps = max(1, len(task.chosen) // self.protocol.batch_size)

    def run(self) -> dict[str, Any]:
        """Does what is left; the result, on rank 0. Raises DataError for images that cannot be read, NonFiniteError,
        and Stopped when asked to stop, after a save."""
        session = self.session
        session.total = self.protocol.steps
        try:
            if self.part == TRAINING:
                self._train()
                self._begin(NORMS)
            if self.part == NORMS:
                self._settle_norms()
                self._begin(SCORING)
            found = self.task.score(session, self.folder)
        except Stopped:
            session.save(self.state)
            raise
        last = self.history[-1] if self.history else {}
        return {**found, "protocol": asdict(self.protocol), "losses": last, "history": self.history}

    def state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint, "done": self.session.done, "part": self.part, "history": self.history,
            "task": self.task.description(), "network": self.task.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state. Raises CheckpointError if it is of another evaluation."""
        if state.get("fingerprint") != self.fingerprint:
            found = "the checkpoint found is of an evaluation of other weights or images"
            raise CheckpointError(f"{found}; name=OTHER starts afresh")
        self.session.done, self.part, self.history = state["done"], state["part"], state["history"]
        self.task.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("%s goes on after step %d, %s", self.protocol.name, state["done"], self.part)

    def _begin(self, part: str) -> None:
        self.part = part
        self.session.save(self.state)

    def _train(self) -> None:
        session, network = self.session, self.task.network
        network.train()
        for number, batch in self._batches(session.done, self.protocol.steps):
            session.beat(f"in step {number + 1}")
            for group in self.optimizer.param_groups:
                group["lr"] = self.protocol.rate(number)
            self.optimizer.zero_grad()
            total, losses = self._losses(batch)
            total.backward()
            sum_gradients(p for group in self.optimizer.param_groups for p in group["params"])
            self.optimizer.step()
            done = number + 1
            if done % LOG_EVERY == 0 or done == session.total:
                self._log(done, losses)
            if session.step(done):
                session.save(self.state)

    def _losses(self, batch: tuple[int, list[Item]]) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's part of the loss, and each loss of the whole batch by name."""
        epoch, items = batch
        return over_ranks(self.task.losses(items, epoch))

    def _log(self, done: int, losses: dict[str, Tensor]) -> None:
        """Of one step, so that lines do not depend on where a life began."""
        line = {name: float(value) for name, value in losses.items()}
        if not all(map(math.isfinite, line.values())):
            raise NonFiniteError(
                f"a loss of {self.protocol.name} became NaN or Inf by step {done}; {self.session.stands()}. Try a "
                f"lower evaluation.lr (now {self.protocol.lr:g})"
            )
        self.history.append({"step": done, **line})
        self.session.facts["loss"] = sum(line.values())
        said = ", ".join(f"{name} {value:.3f}" for name, value in line.items())
        log.info("%s: step %d of %d, %s", self.protocol.name, done, self.session.total, said)

    def _settle_norms(self) -> None:
        """The statistics of batch norm that the scoring uses: the mean over the next batches of training."""
        count, network = self.protocol.precise, self.task.network
        network.train()
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
        if not count or not norms:
            return
        log.info("%s: batch norm's statistics of %d batches", self.protocol.name, count)
        with PopulationStatistics(norms) as population, torch.no_grad():
            for _, batch in self._batches(self.protocol.steps, self.protocol.steps + count):
                self.session.ask()
                self._losses(batch)
            population.settle()

    def _batches(self, first: int, end: int) -> Iterator[tuple[int, tuple[int, list[Item]]]]:
        """The number of each step and this rank's part of its batch."""
        world = self.rank.world
        parts, epoch, order = list[tuple[int, list[int]]](), -1, list[list[int]]()
        for step in range(first, end):
            if (now := step // self.epoch_steps) != epoch:
                epoch, sizes = now, self.task.sizes
                order = plan(sizes, self.task.chosen, self.protocol.batch_size, numbers.SEED, epoch)
            whole = order[step % self.epoch_steps]
            parts.append((epoch, whole[cut(len(whole), world.rank, world.size)]))
        pinned = self.rank.device.type == "cuda"
        batches = iter(Loader(self.task.batches(parts), self.task.workers, batch_size=None, pin_memory=pinned))
        try:
            yield from zip(range(first, end), batches, strict=True)
        except DataError as error:
            raise loading.own_words(error) from None
        finally:
            loading.close(batches)


def _groups(task: Task) -> list[dict[str, Any]]:
    """The parameters that learn: batch norm's have a decay of their own."""
    norms, weights = list[nn.Parameter](), list[nn.Parameter]()
    for module in task.network.modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        (norms if isinstance(module, _BatchNorm) else weights).extend(own)
    protocol = task.protocol
    return [
        {"params": weights, "weight_decay": protocol.decay},
        {"params": norms, "weight_decay": protocol.norm_decay},
    ]


def _identity(task: Task) -> str:
    """Of what the result depends on: protocol, first weights and images."""
    found = hashlib.sha256(json.dumps([asdict(task.protocol), task.facts()]).encode())
    for value in task.network.state_dict().values():
        found.update(value.cpu().numpy().tobytes())
    return found.hexdigest()
