"""What a run watches about itself on the device: means and counts of its metrics, the first step that was no number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from golang.config import Config
from golang.method.model import Branches
from golang.method.objective import Losses, Targets

NEVER = -1
LOSS_NAMES = ("loss", "loss_global", "loss_local", "loss_cross_view")


SCALARS = (*LOSS_NAMES, "attention_entropy", "steps", "gradient_norm", "updates")  # where a meter's sums begin


@dataclass
class Signs:
    """What one step shows beside its losses."""

    assignments: tuple[Tensor, ...]  # int64 [2·b] of global prototypes and, with GOLANG, [2·b·n] of local ones
    attention_entropy: Tensor | None = None  # scalar, as a share of ln P; 1: no position is preferred


@torch.no_grad()
def read_signs(branches: Branches, targets: Targets) -> Signs:
    """The prototype that each row's code is mostly of, and how spread the attention is."""
    codes = [targets.global_] if targets.local is None else [targets.global_, targets.local]
    assignments = tuple(code.argmax(-1).flatten() for code in codes)
    if branches.attention is None:
        return Signs(assignments)
    attention = branches.attention.detach()
    return Signs(assignments, torch.special.entr(attention).sum(2).mean() / math.log(max(attention.shape[2], 2)))


class Meter:
    """Sums since the last log line, kept on the device so that no step waits for it: those of `SCALARS`, then how often
    each global and each local prototype was assigned."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.sizes = [config.model.prototypes]
        if config.method.name == "golang":
            self.sizes.append(config.model.local_prototypes)
        self.sums = torch.zeros(len(SCALARS) + sum(self.sizes), dtype=torch.float64, device=device)

    def add(self, losses: Losses, signs: Signs, optimizer: Any) -> None:  # noqa: ANN401 - apex's has no common type
        """One step: device scalars of the losses, and with our LARC the gradients' norm unless the step was skipped."""
        zero, one = losses.total.new_zeros(()), losses.total.new_ones(())
        norm: Tensor | None = getattr(optimizer, "gradient_norm", None)
        skipped: Tensor | None = getattr(optimizer, "skipped", None)
        updated = zero if norm is None else one if skipped is None else torch.where(skipped, zero, one)
        norm = zero if norm is None else torch.where(updated > 0, norm.to(zero.dtype), zero)
        parts = [losses.total, losses.global_, losses.local, losses.cross_view, signs.attention_entropy]
        scalars = [zero if part is None else part.detach().to(zero.dtype) for part in parts]
        self.sums[: len(SCALARS)] += torch.stack([*scalars, one, norm, updated]).double()
        start = len(SCALARS)
        for assigned, size in zip(signs.assignments, self.sizes, strict=True):
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
    """Metrics by name from a Meter's sums, averaged over ranks. SwAV has the global ones alone."""
    golang = config.method.name == "golang"
    total = dict(zip(SCALARS, sums[: len(SCALARS)].tolist(), strict=True))
    names = [*LOSS_NAMES, "attention_entropy"] if golang else LOSS_NAMES[:2]
    metrics = {name: total[name] / total["steps"] for name in names}
    if total["updates"]:
        metrics["gradient_norm"] = total["gradient_norm"] / total["updates"]
    counts = sums[len(SCALARS) :].split([config.model.prototypes, config.model.local_prototypes][: 1 + golang])
    for prefix, count in zip(("", "local_"), counts, strict=False):
        metrics[f"{prefix}prototype_perplexity"] = perplexity(count)
        metrics[f"dead_{prefix}prototypes"] = int((count == 0).sum())
    return metrics


def perplexity(counts: Tensor) -> float:
    """exp of the entropy of counts [K]: how many prototypes, used equally, would be as spread. 0 without counts."""
    total = counts.sum()
    return float(torch.special.entr(counts / total).sum().exp()) if total > 0 else 0.0


def parameter_norm(model: nn.Module) -> float:
    """The 2-norm of all weights together. Waits for the device."""
    return float(torch.nn.utils.get_total_norm([parameter.detach() for parameter in model.parameters()]))


def log_k(config: Config) -> dict[str, float]:
    """ln K of the global and the local prototypes, in nats."""
    found = {"ln_k": math.log(config.model.prototypes)}
    return found | ({"ln_k_local": math.log(config.model.local_prototypes)} if config.method.name == "golang" else {})


def uniform_losses(config: Config) -> dict[str, float]:
    """The losses of a collapsed network, ln K: every prototype equally likely for every image."""
    whole = log_k(config)["ln_k"]
    if config.method.name == "swav":
        return {"loss": whole, "loss_global": whole}
    local = log_k(config)["ln_k_local"]
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
