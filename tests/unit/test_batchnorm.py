"""Batch norm over two ranks against one process's batch norm over the rows of both."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from golang.method.batchnorm import BatchNorm, _SyncedNorm, uneven
from tests.golden.runs import on_two_ranks

FEATURES = 5
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def rows(kind: str) -> tuple[Tensor, Tensor]:
    """Six images and the gradient of their norm's output, fp64; their mean is far from zero."""
    draw = torch.Generator().manual_seed(0)
    shape = (6, FEATURES) if kind == "rows" else (6, FEATURES, 4, 4)
    x, dy = 30 + torch.randn(2, *shape, generator=draw, dtype=torch.float64)
    layout = torch.channels_last if kind == "channels_last" else torch.contiguous_format
    return x.contiguous(memory_format=layout), (dy - 30).contiguous()  # the gradient in another layout than x


def norm() -> BatchNorm:
    made = BatchNorm(FEATURES)
    with torch.no_grad():
        made.weight.copy_(torch.linspace(0.5, 2, FEATURES))
        made.bias.copy_(torch.linspace(-1, 1, FEATURES))
    return made


def passed(made: BatchNorm, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """A pass there and back: all that it gives and leaves."""
    x = x.clone().requires_grad_()
    y = made(x)
    y.backward(dy)
    assert x.grad is not None and made.weight.grad is not None and made.bias.grad is not None
    return {"y": y.detach(), "dx": x.grad, "dw": made.weight.grad, "db": made.bias.grad, **made.state_dict()}


def on_a_rank(rank: int, inputs: tuple[str, tuple[int, int], torch.dtype]) -> dict[str, Tensor]:
    kind, shares, dtype = inputs
    made = norm().double() if dtype == torch.float64 else norm()
    x, dy = (part.split(shares)[rank].to(dtype) for part in rows(kind))
    with uneven(shares):
        return passed(made, x, dy)


@pytest.mark.parametrize("kind", ["rows", "contiguous", "channels_last"])
@pytest.mark.parametrize("shares", [(3, 3), (4, 2), (0, 6)])
def test_the_rows_of_both_ranks(kind: str, shares: tuple[int, int]) -> None:
    found = on_two_ranks(on_a_rank, (kind, shares, torch.float64))
    expected = passed(norm().double(), *rows(kind))
    for name in ("y", "dx"):
        assert torch.allclose(torch.cat([got[name] for got in found]), expected[name], rtol=0, atol=1e-12), name
    for name in ("dw", "db"):
        assert torch.allclose(found[0][name] + found[1][name], expected[name], rtol=0, atol=1e-12), name
    for got in found:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.allclose(got[name], expected[name], rtol=0, atol=1e-12), name


def test_half_precision_has_statistics_of_full_precision() -> None:
    """Around 30, bfloat16's steps are 1/8 wide: a mean rounded to them would shift every row."""
    found = on_two_ranks(on_a_rank, ("channels_last", (3, 3), torch.bfloat16))
    x, dy = (part.bfloat16().double() for part in rows("channels_last"))
    expected = passed(norm().double(), x, dy)
    assert all(got["y"].dtype == got["dx"].dtype == torch.bfloat16 for got in found)
    for name in ("y", "dx"):
        off = (torch.cat([got[name] for got in found]).double() - expected[name]).abs()
        assert (off <= 2**-7 * expected[name].abs() + 2**-8).all(), name  # two roundings
    for name in ("running_mean", "running_var"):
        assert torch.allclose(found[0][name].double(), expected[name], rtol=1e-6), name


class _Calls(TorchDispatchMode):
    """Notes what the backward kernel is given."""

    def __init__(self) -> None:
        super().__init__()
        self.backward: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.native_batch_norm_backward.default:
            self.backward.append(args)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["rows", "contiguous", "channels_last"])
@pytest.mark.parametrize("device", DEVICES)
def test_the_kernels_of_each_device(device: str, kind: str) -> None:
    """A rank alone has torch's own norm; and CUDA's backward kernel is given all that it insists on ("save_mean should
    always be defined"), which a processor's does not."""
    x, dy = (part.to(device) for part in rows(kind))
    made = norm().to(device, torch.float64)
    expected = passed(made, x, dy)
    leaf = x.clone().requires_grad_()
    made.weight.grad = made.bias.grad = None
    y, mean, unbiased = _SyncedNorm.apply(leaf, made.weight, made.bias, made.eps)
    with _Calls() as seen:
        y.backward(dy)
    found = {"y": y, "dx": leaf.grad, "dw": made.weight.grad, "db": made.bias.grad}
    for name, value in found.items():
        assert value is not None and torch.allclose(value, expected[name], rtol=0, atol=1e-12), name
    assert torch.allclose(0.1 * mean, expected["running_mean"]) and torch.allclose(
        0.9 + 0.1 * unbiased, expected["running_var"]
    )
    ((*_, saved_mean, saved_deviation, _, _, _),) = seen.backward
    assert not saved_mean.numel() and not saved_deviation.numel()
