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
        self.skipped = None if found_inf is None else found_inf.bool().squeeze()
        norms: list[Tensor] = []
        for group in self.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            # A GPU wants all tensors in one kernel; a processor each one while it lies in its cache.
            together = bool(used) and used[0].is_cuda
            for chunk in [used] if together else [[p] for p in used]:
                norms += self._update(chunk, group)
        self.gradient_norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else None

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Moves some parameters of a group; returns their gradients' norms."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffers = [self.state[p].setdefault("momentum_buffer", torch.zeros_like(p)) for p in parameters]
        norms = list(torch._foreach_norm(gradients))
        updates = _adapted(parameters, gradients, torch.stack(norms), group) if group["adapt"] else gradients
        if self.skipped is None:
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates)
            torch._foreach_add_(parameters, buffers, alpha=-group["lr"])
        else:
            keep = ~self.skipped
            torch._foreach_mul_(buffers, torch.where(keep, group["momentum"], 1.0).to(buffers[0].dtype))
            torch._foreach_add_(buffers, [update.masked_fill(self.skipped, 0) for update in updates])
            torch._foreach_add_(parameters, torch._foreach_mul(buffers, keep.to(buffers[0].dtype) * -group["lr"]))
        return norms


def _adapted(
    parameters: list[Tensor], gradients: list[Tensor], gradient_norms: Tensor, group: dict[str, Any]
) -> list[Tensor]:
    """Gradients under LARC's scaling. The tensors' own factors are worked out for all of them at once."""
    norms, decay = torch.stack(torch._foreach_norm(parameters)), group["weight_decay"]
    usable = (norms != 0) & (gradient_norms != 0)
    ratios = torch.where(usable, group["trust"] * norms / (gradient_norms + norms * decay + group["eps"]), 1.0)
    decays = usable.to(norms.dtype) * decay
    return [
        (p * own_decay).add_(gradient).mul_(ratio)
        for p, gradient, own_decay, ratio in zip(parameters, gradients, decays.unbind(), ratios.unbind(), strict=True)
    ]


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
