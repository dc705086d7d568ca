"""What a run watches about itself on the device: means and counts of its metrics, the first NaN or Inf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from golang.config import Config
from golang.method import signs
from golang.method.objective import Losses
from golang.method.signs import METRICS, Signs

NEVER = -1
SCALARS = (*METRICS, "steps", "gradient_norm", "updates")  # where a meter's sums begin


class Meter:
    """Sums since the last log line, kept on the device so that no step waits for it: those of `SCALARS`, then how often
    each prototype was assigned."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.sizes = list(signs.prototypes(config).values())
        self.sums = torch.zeros(len(SCALARS) + sum(self.sizes), dtype=torch.float64, device=device)

    def add(self, losses: Losses, seen: Signs, optimizer: Any) -> None:  # noqa: ANN401 - apex's has no common type
        """One step: device scalars of the losses, and with our LARC the gradients' norm unless the step was skipped."""
        zero, one = losses.total.new_zeros(()), losses.total.new_ones(())
        norm: Tensor | None = getattr(optimizer, "gradient_norm", None)
        skipped: Tensor | None = getattr(optimizer, "skipped", None)
        updated = zero if norm is None else one if skipped is None else torch.where(skipped, zero, one)
        norm = zero if norm is None else torch.where(updated > 0, norm.to(zero.dtype), zero)
        parts = signs.scalars(losses, seen)
        scalars = [zero if part is None else part.detach().to(zero.dtype) for part in parts]
        self.sums[: len(SCALARS)] += torch.stack([*scalars, one, norm, updated]).double()
        start = len(SCALARS)
        for assigned, size in zip(seen.assignments, self.sizes, strict=True):
            counts = self.sums[start : start + size]
            counts.index_add_(0, assigned, counts.new_ones(()).expand(len(assigned)))
            start += size

    def read(self) -> Tensor:
        """The sums on the CPU (this waits for the device); starts anew."""
        sums = self.sums.to("cpu", copy=True)
        self.sums.zero_()
        return sums

    def restore(self, saved: Tensor, rank: int, world: int) -> bool:
        """Takes up the sums [W, …] that W ranks had; False, with sums of 0, if they are of another version's metrics.

        Other ranks than before share them evenly: means stay means, and counts keep their total.
        """
        if saved.shape[1:] != self.sums.shape:
            return False
        if len(saved) == world:
            self.sums.copy_(saved[rank])
        else:
            self.sums.copy_(saved.mean(0))
            self.sums[len(SCALARS) :] *= len(saved) / world
        return True


def mean_metrics(sums: Tensor, config: Config) -> dict[str, float]:
    """Metrics by name from a Meter's sums, averaged over ranks; those that the method has."""
    total = dict(zip(SCALARS, sums[: len(SCALARS)].tolist(), strict=True))
    metrics = {name: total[name] / total["steps"] for name in signs.metrics_of(config)}
    if total["updates"]:
        metrics["gradient_norm"] = total["gradient_norm"] / total["updates"]
    sizes = signs.prototypes(config)
    for prefix, count in zip(sizes, sums[len(SCALARS) :].split(list(sizes.values())), strict=True):
        metrics[f"{prefix}prototype_perplexity"] = signs.perplexity(count)
        metrics[f"dead_{prefix}prototypes"] = int((count == 0).sum())
    return metrics


def parameter_norm(model: nn.Module) -> float:
    """The 2-norm of all weights together. Waits for the device."""
    return float(torch.nn.utils.get_total_norm([parameter.detach() for parameter in model.parameters()]))


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
