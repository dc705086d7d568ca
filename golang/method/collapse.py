"""Notices a collapsed network by its metrics: one that gives every image the same code sits at ln K, or uses hardly any
prototype."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from golang.config import Config
from golang.method.signs import prototypes

NEAR = 0.005  # a loss within this share of ln K counts as sitting there; so few of the prototypes count as hardly any
PATIENCE = 5  # log lines in a row


def log_k(config: Config) -> dict[str, float]:
    """ln K of the global and, with GOLANG, the local prototypes, in nats."""
    return dict(zip(("ln_k", "ln_k_local"), map(math.log, prototypes(config).values()), strict=False))


def uniform_losses(config: Config) -> dict[str, float]:
    """The losses of a collapsed network, ln K: every prototype equally likely for every image."""
    whole, *local = log_k(config).values()
    if not local:
        return {"loss": whole, "loss_global": whole}
    return {"loss": (2 * whole + local[0]) / 3, "loss_global": whole, "loss_local": local[0], "loss_cross_view": whole}


def collapsed(shown: Mapping[str, Sequence[float]], config: Config) -> str | None:
    """What to say about a run that has looked collapsed in the last PATIENCE log lines; None while it has not.

    Args:
        shown: by name, the mean losses and `prototype_perplexity` of the log lines since the warm-up and the freeze of
            the prototypes ended, oldest first (before that, sitting there is no sign of anything).
    """
    uniform, total = uniform_losses(config), config.model.prototypes

    def stays(name: str, low: float, high: float) -> bool:
        last = shown.get(name, ())[-PATIENCE:]
        return len(last) == PATIENCE and all(low <= value <= high for value in last)

    sitting = [name for name, level in uniform.items() if stays(name, level - NEAR * level, level + NEAR * level)]
    signs = [f"{name} {shown[name][-1]:.3f} (ln K = {uniform[name]:.3f})" for name in sitting if "loss" in sitting]
    few = max(1.5, NEAR * total)
    if total > few and stays("prototype_perplexity", 0, few):
        signs.append(f"prototype_perplexity {shown['prototype_perplexity'][-1]:.1f} of {total}")
    if not signs:
        return None
    return (
        f"the network has collapsed: for {PATIENCE} log lines it has given every image the same code, "
        f"{', '.join(signs)}. Stop it and try a smaller method.epsilon (now {config.method.epsilon:g}, least 0.025), "
        f"a lower optim.base_lr (now {config.optim.base_lr:g}), fewer model.prototypes (now {total}), a "
        f"longer optim.warmup_epochs (now {config.optim.warmup_epochs}) or a larger optim.batch_size or queue.length "
        f"(now {config.optim.batch_size}, {config.queue.length})"
    )


class CollapseDetector:
    """Looks at each log line, and says once that the network has collapsed."""

    def __init__(self, config: Config, steps_per_epoch: int) -> None:
        self.config, self.first = config, counts_from(config, steps_per_epoch)
        self._shown: dict[str, list[float]] = {}  # by name, metrics of the log lines that can show a collapse
        self._said = False

    def look(self, done: int, line: Mapping[str, Any]) -> str | None:
        """What is to be said after the line of metrics of step `done`."""
        if self._said or done < self.first:
            return None
        for name in (*uniform_losses(self.config), "prototype_perplexity"):
            self._shown.setdefault(name, []).append(line[name])
        message = collapsed(self._shown, self.config)
        self._said = message is not None
        return message


def counts_from(config: Config, steps_per_epoch: int) -> int:
    """The first step whose log line says something about collapse: after warm-up and freeze."""
    return max(config.optim.warmup_epochs * steps_per_epoch, config.optim.freeze_iterations) + 1
