"""What a step shows beside its losses: which prototypes its images are assigned to, and how spread the attention is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from golang.config import Config
from golang.config.checks import local_views
from golang.method.model import Branches
from golang.method.objective import NAMES, Losses, Targets

METRICS = (*NAMES, "attention_entropy")


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
    # Not by torch.special.entr, which a GPU compiles when it is first called.
    logarithms = torch.xlogy(attention, attention).sum(2).mean()
    return Signs(assignments, logarithms / -math.log(max(attention.shape[2], 2)))


def scalars(losses: Losses, signs: Signs) -> list[Tensor | None]:
    """A step's METRICS, device scalars; None for those that the method has not."""
    return [losses.total, losses.global_, losses.local, losses.cross_view, signs.attention_entropy]


def metrics_of(config: Config) -> tuple[str, ...]:
    """Which of METRICS the method has: SwAV the total and the global loss alone."""
    return METRICS if local_views(config) else METRICS[:2]


def prototypes(config: Config) -> dict[str, int]:
    """How many prototypes there are, by the prefix of their metrics, in the order of `Signs.assignments`."""
    local = {"local_": config.model.local_prototypes} if local_views(config) else {}
    return {"": config.model.prototypes, **local}


def perplexity(counts: Tensor) -> float:
    """exp of the entropy of counts [K]: how many prototypes, used equally, would be as spread. 0 without counts."""
    total = counts.sum()
    return float(torch.special.entr(counts / total).sum().exp()) if total > 0 else 0.0
