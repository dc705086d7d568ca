"""The learning-rate schedule and LARC-SGD (You et al. 2017; NVIDIA apex's formula without clipping)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golang.config import Optim
from golang.errors import ConfigError

ROW = 1024  # numbers, of a GPU's updates; every tensor starts at one, where kernels read fastest


def learning_rates(optim: Optim, steps_per_epoch: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The learning rate of every step, float64 [epochs · steps_per_epoch]: linear from start_lr to base_lr over the
    warm-up, both ends included, then half a cosine to final_lr that starts at base_lr again."""
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
        self, params: Any,  # noqa: ANN401 - torch's own loose type
        lr: float, momentum: float, weight_decay: float, trust: float, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        rule = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "eps": eps, "adapt": True}
        super().__init__(params, rule)
        self.skipped: Tensor | None = None
        self.gradient_norm: Tensor | None = None
        self._updates: dict[int, _Updates] = {}  # by group, on a GPU

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. Parameters without a gradient are left alone."""
        found_inf: Tensor | None = getattr(self, "found_inf", None)  # the scaler sets it for the time of the call
        self.skipped = None if found_inf is None else found_inf.bool().squeeze()
        norms = []
        for number, group in enumerate(self.param_groups):
            used = [p for p in group["params"] if p.grad is not None]
            if used:
                norms.append(self._update(used, number, group))
        self.gradient_norm = torch.linalg.vector_norm(torch.cat(norms)) if norms else None

    def _update(self, parameters: list[Tensor], number: int, group: dict[str, Any]) -> Tensor:
        """Moves a group's `parameters` that have a gradient; returns the norms of the gradients [n]."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffers = [self._momentum(p) for p in parameters]
        norms = torch.stack(torch._foreach_norm(gradients))
        ratios = _ratios(parameters, norms, group)
        if not parameters[0].is_cuda:
            _one_by_one(parameters, gradients, buffers, ratios, group, self.skipped)
            return norms
        if number not in self._updates or not self._updates[number].of(parameters):
            self._updates[number] = _Updates(parameters)  # at the first step, and when prototypes thaw
        _together(parameters, gradients, buffers, ratios, group, self.skipped, self._updates[number])
        return norms

    def _momentum(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _ratios(parameters: list[Tensor], gradient_norms: Tensor, group: dict[str, Any]) -> Tensor:
    """What g + wd·p of each tensor is multiplied with [n]: 1 for a tensor of zeros, 0 where the gradient is zero."""
    if not group["adapt"]:
        return torch.ones_like(gradient_norms)
    norms = torch.stack(torch._foreach_norm(parameters))
    ratios = group["trust"] * norms / (gradient_norms + norms * group["weight_decay"] + group["eps"])
    return torch.where((norms != 0) & (gradient_norms != 0), ratios, (gradient_norms != 0).to(ratios.dtype))


def _one_by_one(
    parameters: list[Tensor], gradients: list[Tensor], buffers: list[Tensor],
    ratios: Tensor, group: dict[str, Any], skipped: Tensor | None,
) -> None:  # fmt: skip
    """A processor's way: each tensor while it lies in the cache, in place."""
    decays, momentum, lr = ratios * group["weight_decay"], group["momentum"], group["lr"]
    for p, g, m, ratio, decay in zip(parameters, gradients, buffers, ratios.unbind(), decays.unbind(), strict=True):
        if skipped is None:
            m.mul_(momentum).addcmul_(g, ratio).addcmul_(p, decay)
            p.add_(m, alpha=-lr)
        else:
            moved = (m * momentum).addcmul_(g, ratio).addcmul_(p, decay)
            p.copy_(torch.where(skipped, p, p - lr * moved))
            m.copy_(torch.where(skipped, m, moved))


class _Updates:
    """Room for the updates of all tensors in one vector of whole rows [R, ROW], each tensor from the start of a row,
    with views of it in the tensors' shapes and strides."""

    def __init__(self, parameters: list[Tensor]) -> None:
        counts = [-(-p.numel() // ROW) for p in parameters]
        self.parameters = parameters
        self.rows = parameters[0].new_zeros(sum(counts), ROW)
        owners = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self.owners = owners.to(self.rows.device)  # the tensor of each row
        parts = self.rows.split(counts)
        self.views = [part.as_strided(p.shape, p.stride()) for part, p in zip(parts, parameters, strict=True)]

    def of(self, parameters: list[Tensor]) -> bool:
        return len(parameters) == len(self.parameters) and all(map(operator.is_, parameters, self.parameters))


def _together(
    parameters: list[Tensor], gradients: list[Tensor], buffers: list[Tensor],
    ratios: Tensor, group: dict[str, Any], skipped: Tensor | None, updates: _Updates,
) -> None:  # fmt: skip
    """A GPU's way: a few kernels for all tensors."""
    rows, views = updates.rows, updates.views
    torch._foreach_copy_(views, gradients)
    torch._foreach_add_(views, parameters, alpha=group["weight_decay"])
    # A ratio a row, not a number: repeat_interleave would write the indices of a whole tensor by one warp.
    rows.mul_(ratios.index_select(0, updates.owners)[:, None])
    if skipped is None:
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, views)
        torch._foreach_add_(parameters, buffers, alpha=-group["lr"])
        return
    rows.masked_fill_(skipped, 0)
    torch._foreach_mul_(buffers, torch.where(skipped, rows.new_ones(()), group["momentum"]))
    torch._foreach_add_(buffers, views)
    torch._foreach_copy_(views, buffers)
    torch._foreach_mul_(views, (~skipped).to(rows.dtype) * -group["lr"])
    torch._foreach_add_(parameters, views)


def build_optimizer(optim: Optim, model: nn.Module) -> Any:  # noqa: ANN401 - apex's wrapper has no common type
    """Our LARC, or for `optim.larc=apex` NVIDIA's around torch's SGD. Raises ConfigError if apex can't be imported."""
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
