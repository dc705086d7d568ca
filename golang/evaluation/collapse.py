"""Notices a collapsed network by its loss: one that gives every image the same code sits at ln K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from golang.config import Config

NEAR = 0.005  # a loss within this share of ln K counts as sitting there
PATIENCE = 5  # log lines in a row


def collapsed(
    losses: Mapping[str, Sequence[float]], uniform: Mapping[str, float], config: Config, patience: int = PATIENCE
) -> str | None:
    """What to say about a run whose mean loss has sat at ln K for the last `patience` log lines; None while it has not.

    Args:
        losses: by name, the mean losses of the log lines since the warm-up and the freeze of the prototypes ended,
            oldest first (before that, sitting there is no sign of anything); more names than "loss" are reported.
        uniform: by name, the loss of a collapsed network (`golang.engine.health.uniform_losses`).
    """
    sitting = [name for name in losses if name in uniform and _sits(losses[name], uniform[name], patience)]
    if "loss" not in sitting:
        return None
    parts = ", ".join(f"{name} {losses[name][-1]:.3f} (ln K = {uniform[name]:.3f})" for name in sitting)
    return (
        f"the network has collapsed: for {patience} log lines it has given every image the same code, {parts}. "
        f"Stop it and try a smaller method.epsilon (now {config.method.epsilon:g}, least 0.025), a lower "
        f"optim.base_lr (now {config.optim.base_lr:g}), fewer model.prototypes (now {config.model.prototypes}), a "
        f"longer optim.warmup_epochs (now {config.optim.warmup_epochs}) or a larger optim.batch_size or queue.length "
        f"(now {config.optim.batch_size}, {config.queue.length})"
    )


def counts_from(config: Config, steps_per_epoch: int) -> int:
    """The first step whose log line says something about collapse: after warm-up and freeze."""
    return max(config.optim.warmup_epochs * steps_per_epoch, config.optim.freeze_iterations) + 1


def _sits(values: Sequence[float], level: float, patience: int) -> bool:
    return len(values) >= patience and all(abs(value - level) <= NEAR * level for value in values[-patience:])
