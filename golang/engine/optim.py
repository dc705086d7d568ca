"""The learning-rate schedule and LARC-SGD (You et al. 2017; NVIDIA apex's formula without clipping)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golang.config import Optim
from golang.errors import ConfigError


def learning_rates(optim: Optim, steps_per_epoch: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The learning rate of every step, float64 [epochs · steps_per_epoch].

    Linear from start_lr to base_lr over the warm-up, both ends included, then half a cosine to final_lr that starts
    at base_lr again.
    """
    warm = np.linspace(optim.start_lr, optim.base_lr, steps_per_epoch * optim.warmup_epochs)
    length = steps_per_epoch * (optim.epochs - optim.warmup_epochs)
    phase = np.cos(np.pi * np.arange(length) / max(length, 1))
    return np.concatenate([warm, optim.final_lr + 0.5 * (optim.base_lr - optim.final_lr) * (1 + phase)])


class LARC(torch.optim.Optimizer):
    """SGD with momentum whose step is scaled, tensor by tensor, to the tensor's own norm.

    g ← (g + wd·p)·η‖p‖/(‖g‖ + wd‖p‖ + ε) where both norms are positive, else g as it is, without decay; then
    m ← μ·m + g and p ← p − lr·m. A group with `adapt=False` keeps plain gradients. Nothing waits for the device.
    After each step `gradient_norm` holds the norm of all gradients and `skipped` whether a gradient scaler had the step
    skipped (None without one), as device scalars.
    """

    _step_supports_amp_scaling = True  # the scaler then passes found_inf instead of reading it

    def __init__(
        self,
        params: Any,  # noqa: ANN401 - torch's own loose type
        lr: float,
        momentum: float,
        weight_decay: float,
        trust: float,
        eps: float = 1e-8,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust": trust,
            "eps": eps,
            "adapt": True,
        }
        super().__init__(params, defaults)
        self.skipped: Tensor | None = None
        self.gradient_norm: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. Parameters without a gradient are left alone."""
        found_inf: Tensor | None = getattr(self, "found_inf", None)  # the scaler sets it for the time of the call
        skip = self.skipped = None if found_inf is None else found_inf.bool().squeeze()
        norms: list[Tensor] = []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                gradient_norm = torch.linalg.vector_norm(p.grad)
                norms.append(gradient_norm)
                update = self._adapted(p, gradient_norm, group) if group["adapt"] else p.grad
                buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                if skip is None:
                    buffer.mul_(group["momentum"]).add_(update)
                    p.add_(buffer, alpha=-group["lr"])
                else:
                    moved = buffer * group["momentum"] + update
                    buffer.copy_(torch.where(skip, buffer, moved))
                    p.copy_(torch.where(skip, p, p - group["lr"] * moved))
        self.gradient_norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else None

    @staticmethod
    def _adapted(p: Tensor, gradient_norm: Tensor, group: dict[str, Any]) -> Tensor:
        decay, norm = group["weight_decay"], torch.linalg.vector_norm(p)
        ratio = group["trust"] * norm / (gradient_norm + norm * decay + group["eps"])
        usable = (norm != 0) & (gradient_norm != 0)
        assert p.grad is not None
        adapted: Tensor = (p.grad + p * (usable.to(p.dtype) * decay)) * torch.where(
            usable, ratio, torch.ones_like(ratio)
        )
        return adapted


def build_optimizer(optim: Optim, model: nn.Module) -> Any:  # noqa: ANN401 - apex's wrapper has no common type
    """Our LARC, or NVIDIA apex's around torch's SGD for `optim.larc=apex`.

    Raises ConfigError when apex is asked for and is not importable.
    """
    groups = _parameter_groups(optim, model)
    if optim.larc == "own":
        return LARC(groups, optim.base_lr, optim.momentum, optim.weight_decay, optim.trust)
    try:
        from apex import parallel
    except ImportError as error:
        raise ConfigError(
            "optim.larc=apex needs NVIDIA apex, which is not importable here "
            "(https://github.com/NVIDIA/apex; PyPI's `apex` is another project); optim.larc=own has the same formula"
        ) from error
    sgd = torch.optim.SGD(groups, optim.base_lr, optim.momentum, weight_decay=optim.weight_decay)
    return parallel.LARC(sgd, trust_coefficient=optim.trust, clip=False)


def _parameter_groups(optim: Optim, model: nn.Module) -> list[dict[str, Any]]:
    if optim.adapt_bias_and_norm:
        return [{"params": list(model.parameters())}]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    return [
        {"params": [p for p in model.parameters() if p.dim() > 1]},
        {"params": plain, "adapt": False, "weight_decay": 0.0},
    ]
