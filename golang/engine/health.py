"""What a run watches about itself on the device: mean losses, and the first step that was not a number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from golang.config import Config
from golang.method.objective import Losses

NEVER = -1
LOSS_NAMES = ("loss", "loss_global", "loss_local", "loss_cross_view")


class Meter:
    """Sums of the losses since the last log line, kept on the device so that no step waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(LOSS_NAMES) + 1, dtype=torch.float64, device=device)

    def add(self, losses: Losses) -> None:
        parts = [losses.total, losses.global_, losses.local, losses.cross_view]
        zero, one = losses.total.new_zeros(()), losses.total.new_ones(())
        self.sums += torch.stack([zero if part is None else part.detach() for part in parts] + [one]).double()

    def read(self) -> Tensor:
        """The sums on the CPU (this waits for the device); starts anew."""
        sums = self.sums.to("cpu", copy=True)
        self.sums.zero_()
        return sums


def mean_losses(sums: Tensor, config: Config) -> dict[str, float]:
    """Mean losses by name, from a Meter's sums; SwAV has the global one alone."""
    means = (sums[:-1] / sums[-1]).tolist()
    names = LOSS_NAMES if config.method.name == "golang" else LOSS_NAMES[:2]
    return dict(zip(names, means, strict=False))


def uniform_losses(config: Config) -> dict[str, float]:
    """The losses of a collapsed network, ln K: every prototype equally likely for every image."""
    whole, local = math.log(config.model.prototypes), math.log(config.model.local_prototypes)
    if config.method.name == "swav":
        return {"loss": whole, "loss_global": whole}
    return {"loss": (2 * whole + local) / 3, "loss_global": whole, "loss_local": local, "loss_cross_view": whole}


@dataclass
class Sentinel:
    """Remembers, on the device, the first step whose loss or gradient was not finite.

    A gradient that overflowed in fp16 and was skipped by the scaler does not count; it is counted in `skipped`.
    """

    first: Tensor  # int64 scalar, NEVER while all is well
    skipped: Tensor  # int64 scalar

    @classmethod
    def on(cls, device: torch.device) -> Sentinel:
        return cls(torch.full((), NEVER, device=device), torch.zeros((), dtype=torch.int64, device=device))

    def look(self, step: int, loss: Tensor, optimizer: Any) -> None:  # noqa: ANN401 - apex's wrapper has no common type
        """Notes step `step` from its loss and, with our LARC, from the gradients' norm."""
        bad = ~torch.isfinite(loss.detach())
        norm: Tensor | None = getattr(optimizer, "gradient_norm", None)
        overflow: Tensor | None = getattr(optimizer, "skipped", None)
        if overflow is not None:
            self.skipped += overflow
        if norm is not None:
            broken = ~torch.isfinite(norm)
            bad = bad | (broken if overflow is None else broken & ~overflow)
        self.first = torch.where((self.first == NEVER) & bad, step, self.first)
