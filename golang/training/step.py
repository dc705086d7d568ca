"""One training step, from crops to updated weights, without waiting for the device."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from golang.config import NUM_LARGE, Config
from golang.config.checks import local_queue_length, queue_length
from golang.method.model import GOLANG, Branches, SwAV
from golang.method.objective import Losses, Targets, compute_losses, make_targets
from golang.method.queue import EmbeddingQueue
from golang.method.signs import Signs, read_signs
from golang.training.microbatches import Batch, joined_losses, joined_rows, joined_signs, targets_of, unchanged

AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": None, "fp64": None}


def precision_on(device: torch.device, asked: str) -> str:
    """`asked`, or what `auto` is there: bf16 on a GPU that computes in it, and fp32 elsewhere."""
    if asked != "auto":
        return asked
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if able else "fp32"


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """What the network computes under."""
    dtype = AUTOCAST[precision_on(device, config.precision)]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


class TrainStep:
    """Normalise prototypes, forward, loss, backward, freeze, update.

    `forward` is the module that is called: the model itself or its DDP wrapper. The queues are None until they exist.
    """

    def __init__(
        self, config: Config, model: SwAV, optimizer: Any,  # noqa: ANN401 - apex's wrapper has no common type
        learning_rates: Sequence[float], forward: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.config, self.model, self.optimizer, self.learning_rates = config, model, optimizer, learning_rates
        self.forward = forward or model
        self.queue: EmbeddingQueue | None = None
        self.local_queue: EmbeddingQueue | None = None
        self.signs = Signs(())  # of the last step
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")

    def __call__(self, iteration: int, large: Tensor, small: Tensor | None, permutations: Tensor | None) -> Losses:
        """Trains on large [2·b, 3, S, S] and small [m·b, 3, s, s], rows v·b + i; returns device scalars."""
        losses, _ = self.gradients(iteration, large, small, permutations)
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.learning_rates[iteration])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses

    @property
    def queues(self) -> dict[str, EmbeddingQueue | None]:
        """By their names in a checkpoint."""
        return {"queue": self.queue, "local_queue": self.local_queue}

    def make_queues(self, ranks: int) -> None:
        """The queues of this rank, full of zeros, unless they are there or not wanted."""
        dtype, features = next(self.model.parameters()).dtype, self.config.model.feature_dim
        if self.queue is None and (length := queue_length(self.config)):
            self.queue = EmbeddingQueue(length // ranks, features, self.device, dtype)
        if self.local_queue is None and (length := local_queue_length(self.config)):
            self.local_queue = EmbeddingQueue(length // ranks, features, self.device, dtype)

    def gradients(
        self, iteration: int, large: Tensor, small: Tensor | None, permutations: Tensor | None
    ) -> tuple[Losses, Targets]:
        """The step without its update: leaves unscaled gradients averaged over ranks, frozen ones as None."""
        self.optimizer.zero_grad(set_to_none=True)
        self.model.normalise_prototypes()
        batch = Batch(large, small, permutations)
        losses, targets = self._at_once(batch) if self.config.optim.accumulate == 1 else self._in_parts(batch)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        if iteration < self.config.optim.freeze_iterations:
            for name, parameter in self.model.named_parameters():
                if "prototypes" in name:
                    parameter.grad = None
        return losses, targets

    def _at_once(self, batch: Batch) -> tuple[Losses, Targets]:
        branches = self._pass(self.forward, batch)
        targets = self._targets(branches, batch.images)
        self.signs = read_signs(branches, targets)
        losses = self._losses(branches, targets, batch)
        self.scaler.scale(losses.total).backward()
        return losses, targets

    def _in_parts(self, batch: Batch) -> tuple[Losses, Targets]:
        """The same by micro-batches, whose activations are never in memory together.

        A pass of all of them without gradients, which leaves running statistics alone, gives the targets; then each
        passes again and leaves its part of the gradients, which ranks exchange at the last.
        """
        count = self.config.optim.accumulate
        with torch.no_grad(), unchanged(self.model.buffers()):
            seen = [self._embeddings(batch.part(number, count)) for number in range(count)]
        targets = self._targets(self._joined(seen, batch.images), batch.images)
        losses, signs = [], []
        for number in range(count):
            with self._exchange(number == count - 1):
                part, wanted = batch.part(number, count), targets_of(targets, batch.images, number, count)
                branches = self._pass(self.forward, part)
                signs.append(read_signs(branches, wanted))
                losses.append(self._losses(branches, wanted, part))
                self.scaler.scale(losses[-1].total / count).backward()
        self.signs = joined_signs(signs)
        return joined_losses(losses), targets

    def _exchange(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """Whether ranks exchange gradients in the passes within."""
        if wanted or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    def _pass(self, network: nn.Module, batch: Batch) -> Branches:
        with autocast(self.config, self.device):
            branches: Branches = network(batch.large, batch.small)
        return branches

    def _embeddings(self, batch: Batch) -> tuple[Tensor, ...]:
        """Those of the large views [2·b, D] and, with GOLANG, of their local views [2·b·n, D]."""
        branches = self._pass(self.model, batch)
        whole = branches.embedding[: NUM_LARGE * batch.images]
        return (whole,) if branches.local_embedding is None else (whole, branches.local_embedding)

    def _joined(self, parts: Sequence[tuple[Tensor, ...]], images: int) -> Branches:
        """What targets are made of, for `images` images, from the `_embeddings` of their micro-batches."""
        whole, *local = (joined_rows(rows, images) for rows in zip(*parts, strict=True))
        branches = Branches(whole, self.model.prototypes(whole))
        if isinstance(self.model, GOLANG):
            branches.local_embedding, branches.local_logits = local[0], self.model.local_prototypes(local[0])
        return branches

    def _targets(self, branches: Branches, images: int) -> Targets:
        # Outside autocast: a queue's cosines feed exp(·/ε), which amplifies half precision's rounding twentyfold.
        return make_targets(self.model, branches, images, self.config.method, self.queue, self.local_queue)

    def _losses(self, branches: Branches, targets: Targets, batch: Batch) -> Losses:
        config = self.config
        return compute_losses(branches, targets, batch.images, config.method, config.cross_view, batch.permutations)
