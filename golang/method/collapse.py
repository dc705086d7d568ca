"""Notices a collapsed network by its metrics: one that gives every image the same code sits at ln K, or uses hardly any
prototype."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from golang.config import Config

NEAR = 0.005  # a loss within this share of ln K counts as sitting there; so few of the prototypes count as hardly any
PATIENCE = 5  # log lines in a row


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


def collapsed(
    shown: Mapping[str, Sequence[float]], uniform: Mapping[str, float], config: Config, patience: int = PATIENCE
) -> str | None:
    """What to say about a run that has looked collapsed in the last `patience` log lines; None while it has not.

    Args:
        shown: by name, the mean losses and `prototype_perplexity` of the log lines since the warm-up and the freeze of
            the prototypes ended, oldest first (before that, sitting there is no sign of anything).
        uniform: by name, the loss of a collapsed network (`uniform_losses`).
    """
    signs = []
    if _stays("loss", shown, patience, _near(uniform["loss"])):
        sitting = [name for name in uniform if _stays(name, shown, patience, _near(uniform[name]))]
        signs += [f"{name} {shown[name][-1]:.3f} (ln K = {uniform[name]:.3f})" for name in sitting]
    few = max(1.5, NEAR * config.model.prototypes)
    if config.model.prototypes > few and _stays("prototype_perplexity", shown, patience, lambda value: value <= few):
        signs.append(f"prototype_perplexity {shown['prototype_perplexity'][-1]:.1f} of {config.model.prototypes}")
    if not signs:
        return None
    return (
        f"the network has collapsed: for {patience} log lines it has given every image the same code, "
        f"{', '.join(signs)}. "
        f"Stop it and try a smaller method.epsilon (now {config.method.epsilon:g}, least 0.025), a lower "
        f"optim.base_lr (now {config.optim.base_lr:g}), fewer model.prototypes (now {config.model.prototypes}), a "
        f"longer optim.warmup_epochs (now {config.optim.warmup_epochs}) or a larger optim.batch_size or queue.length "
        f"(now {config.optim.batch_size}, {config.queue.length})"
    )


class CollapseDetector:
    """Looks at each log line, and says once that the network has collapsed."""

    def __init__(self, config: Config, steps_per_epoch: int) -> None:
        self.config, self.uniform = config, uniform_losses(config)
        self.first = counts_from(config, steps_per_epoch)
        self._shown: dict[str, list[float]] = {}  # by name, metrics of the log lines that can show a collapse
        self._said = False

    def look(self, done: int, line: Mapping[str, Any]) -> str | None:
        """What is to be said after the line of metrics of step `done`."""
        if self._said or done < self.first:
            return None
        for name in (*self.uniform, "prototype_perplexity"):
            self._shown.setdefault(name, []).append(line[name])
        message = collapsed(self._shown, self.uniform, self.config)
        self._said = message is not None
        return message


def counts_from(config: Config, steps_per_epoch: int) -> int:
    """The first step whose log line says something about collapse: after warm-up and freeze."""
    return max(config.optim.warmup_epochs * steps_per_epoch, config.optim.freeze_iterations) + 1


def _near(level: float) -> Callable[[float], bool]:
    return lambda value: abs(value - level) <= NEAR * level


def _stays(name: str, shown: Mapping[str, Sequence[float]], patience: int, at: Callable[[float], bool]) -> bool:
    values = shown.get(name, ())
    return len(values) >= patience and all(at(value) for value in values[-patience:])
