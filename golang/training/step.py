"""One training step, from crops to updated weights, without waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from golang.config import Config
from golang.config.checks import local_queue_length, queue_length
from golang.method.model import SwAV
from golang.method.objective import Losses, Targets, compute_losses, make_targets
from golang.method.queue import EmbeddingQueue
from golang.method.signs import Signs, read_signs

AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": None, "fp64": None}


def precision_on(device: torch.device, asked: str) -> str:
    """`asked`, or what `auto` is there: bf16 on a GPU that computes in it, and fp32 elsewhere."""
    if asked != "auto":
        return asked
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if able else "fp32"


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
        images = len(large) // 2
        dtype = AUTOCAST[precision_on(self.device, self.config.precision)]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            branches = self.forward(large, small)
        # Outside autocast: a queue's cosines feed exp(·/ε), which amplifies half precision's rounding twentyfold.
        targets = make_targets(self.model, branches, images, self.config.method, self.queue, self.local_queue)
        self.signs = read_signs(branches, targets)
        losses = compute_losses(branches, targets, images, self.config.method, self.config.cross_view, permutations)
        self.scaler.scale(losses.total).backward()
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        if iteration < self.config.optim.freeze_iterations:
            for name, parameter in self.model.named_parameters():
                if "prototypes" in name:
                    parameter.grad = None
        return losses, targets
