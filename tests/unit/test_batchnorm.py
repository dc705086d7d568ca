"""Batch norm over ranks against one process's batch norm over the rows of all."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from golang.method import batchnorm
from golang.method.batchnorm import BatchNorm, _SyncedNorm, uneven
from tests.golden.runs import on_ranks
from tests.unit import emulated

FEATURES = 5
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
KERNELS = ("processor's", "CUDA's, emulated")
KINDS = ("rows", "contiguous", "channels_last")
SHARES = ((3, 3), (4, 2), (0, 6), (3, 0, 2, 1))  # images of each rank


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


def use(kernels: str) -> None:
    """In a process that serves tests of these kernels alone."""
    if kernels == "CUDA's, emulated":
        emulated.install()
        batchnorm._kernels = lambda x: batchnorm._Fused


def on_a_rank(rank: int, inputs: tuple[str, str, tuple[int, ...], torch.dtype]) -> dict[str, Tensor]:
    kernels, kind, shares, dtype = inputs
    use(kernels)
    made = norm().double() if dtype == torch.float64 else norm()
    x, dy = (part.split(shares)[rank].to(dtype) for part in rows(kind))
    with uneven(shares):
        return passed(made, x, dy)


Case = tuple[str, tuple[int, ...]]  # a kind of rows, and their shares


def cases_on_a_rank(rank: int, inputs: tuple[str, list[Case]]) -> dict[Case, dict[str, Tensor]]:
    kernels, cases = inputs
    return {(kind, shares): on_a_rank(rank, (kernels, kind, shares, torch.float64)) for kind, shares in cases}


@functools.cache
def of_all_cases(kernels: str, ranks: int) -> list[dict[Case, dict[str, Tensor]]]:
    """Rank by rank, by the same processes for all cases of as many ranks."""
    cases = [(kind, shares) for kind in KINDS for shares in SHARES if len(shares) == ranks]
    return on_ranks(ranks, cases_on_a_rank, (kernels, cases))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shares", SHARES)
def test_the_rows_of_all_ranks(kernels: str, kind: str, shares: tuple[int, ...]) -> None:
    found = [cases[kind, shares] for cases in of_all_cases(kernels, len(shares))]
    expected = passed(norm().double(), *rows(kind))
    for name in ("y", "dx"):
        assert torch.allclose(torch.cat([got[name] for got in found]), expected[name], rtol=0, atol=1e-12), name
    for name in ("dw", "db"):
        assert torch.allclose(sum(got[name] for got in found), expected[name], rtol=0, atol=1e-12), name
    for got in found:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.allclose(got[name], expected[name], rtol=0, atol=1e-12), name


@pytest.mark.parametrize("kernels", KERNELS)
def test_half_precision_has_statistics_of_full_precision(kernels: str) -> None:
    """Around 30, bfloat16's steps are 1/8 wide: a mean rounded to them would shift every row."""
    found = on_ranks(2, on_a_rank, (kernels, "channels_last", (3, 3), torch.bfloat16))
    x, dy = (part.bfloat16().double() for part in rows("channels_last"))
    expected = passed(norm().double(), x, dy)
    assert all(got["y"].dtype == got["dx"].dtype == torch.bfloat16 for got in found)
    for name in ("y", "dx"):
        off = (torch.cat([got[name] for got in found]).double() - expected[name]).abs()
        assert (off <= 2**-7 * expected[name].abs() + 2**-8).all(), name  # two roundings
    for name in ("running_mean", "running_var"):
        assert torch.allclose(found[0][name].double(), expected[name], rtol=1e-6), name


class _Operations(TorchDispatchMode):
    """Notes what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def large_and_small(shares: tuple[int, int]) -> list[tuple[Tensor, ...]]:
    """Each rank's part of a large map, of a small one, and of their gradients: [images, F, s, s], fp64."""
    draw = torch.Generator().manual_seed(1)
    sizes = (4, 2, 4, 2)
    whole = [torch.randn(sum(shares), FEATURES, s, s, generator=draw, dtype=torch.float64) for s in sizes]
    return list(zip(*(part.split(shares) for part in whole), strict=True))


def together_on_a_rank(rank: int, shares: tuple[int, int], together: bool) -> dict[str, Tensor]:
    made = norm().double()
    large, small, *dys = large_and_small(shares)[rank]
    large.requires_grad_(), small.requires_grad_()
    with uneven(shares), _Operations() as seen:
        if together:
            assert made.num_batches_tracked is not None
            made.num_batches_tracked += 2
        ys = made.together([large, small]) if together else [made(large), made(small)]
        torch.autograd.backward(ys, dys)
    assert large.grad is not None and small.grad is not None
    assert made.weight.grad is not None and made.bias.grad is not None
    collectives = sum(name.startswith("c10d") for name in seen.names)
    return {
        "large": ys[0].detach(), "small": ys[1].detach(), "dlarge": large.grad, "dsmall": small.grad,
        "dw": made.weight.grad, "db": made.bias.grad, "collectives": torch.tensor(collectives), **made.state_dict(),
    }  # fmt: skip


MAPS = ((3, 3), (4, 0))


def maps_on_a_rank(rank: int, kernels: str) -> dict[tuple[tuple[int, int], bool], dict[str, Tensor]]:
    use(kernels)
    return {(shares, both): together_on_a_rank(rank, shares, both) for shares in MAPS for both in (True, False)}


@functools.cache
def of_all_maps(kernels: str) -> list[dict[tuple[tuple[int, int], bool], dict[str, Tensor]]]:
    return on_ranks(2, maps_on_a_rank, kernels)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("shares", MAPS)
def test_maps_together(kernels: str, shares: tuple[int, int]) -> None:
    """Bit for bit what a call for each in turn gives and leaves, by half the collectives."""
    for found in of_all_maps(kernels):
        got, expected = (dict(found[shares, both]) for both in (True, False))
        assert (int(got.pop("collectives")), int(expected.pop("collectives"))) == (2, 4)
        for name, value in expected.items():
            assert torch.equal(got[name], value), name


def positions_on_a_rank(rank: int, kernels: str) -> dict[bool, dict[str, Tensor]]:
    use(kernels)
    return {at_once: positions(rank, at_once) for at_once in (True, False)}


def positions(rank: int, at_once: bool) -> dict[str, Tensor]:
    made = norm().double()
    x, dy = torch.randn(2, 6, 7, FEATURES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x, dy = (part.split(3)[rank].clone() for part in (x, dy))
    x.requires_grad_()
    y = made.at_positions(x) if at_once else torch.stack([made(x[:, p]) for p in range(7)], dim=1)
    y.backward(dy)
    assert x.grad is not None and made.weight.grad is not None
    return {"y": y.detach(), "dx": x.grad, "dw": made.weight.grad, **made.state_dict()}


@pytest.mark.parametrize("kernels", KERNELS)
def test_positions_on_two_ranks(kernels: str) -> None:
    """As a call for each position in turn, running statistics included."""
    for found in on_ranks(2, positions_on_a_rank, kernels):
        for name, value in found[False].items():
            assert torch.allclose(found[True][name], value, rtol=0, atol=1e-12), name


def operations_on_a_rank(rank: int, kernels: str) -> dict[str, Tensor]:
    use(kernels)
    x, dy = rows("channels_last")
    with _Operations() as seen:
        passed(norm().double(), x, dy)
    collectives = sum(name.startswith("c10d") for name in seen.names)
    return {"operations": torch.tensor(len(seen.names)), "collectives": torch.tensor(collectives)}


@pytest.mark.parametrize("kernels", KERNELS)
def test_no_more_work_for_more_ranks(kernels: str) -> None:
    """Nothing is done rank by rank."""
    two, four = (on_ranks(ranks, operations_on_a_rank, kernels)[0] for ranks in (2, 4))
    assert two == four and two["collectives"] == 2


@pytest.mark.parametrize("kind", ["rows", "contiguous", "channels_last"])
@pytest.mark.parametrize("device", DEVICES)
def test_the_kernels_of_each_device(device: str, kind: str) -> None:
    """As torch's own norm, which a rank alone has."""
    x, dy = (part.to(device) for part in rows(kind))
    made = norm().to(device, torch.float64)
    expected = passed(made, x, dy)
    leaf = x.clone().requires_grad_()
    made.weight.grad = made.bias.grad = None
    running = torch.zeros_like(made.weight), torch.ones_like(made.weight)
    (y,) = _SyncedNorm.apply(made.weight, made.bias, running, 0.1, made.eps, leaf)
    y.backward(dy)
    found = {"y": y, "dx": leaf.grad, "dw": made.weight.grad, "db": made.bias.grad}
    for name, value in found.items():
        assert value is not None and torch.allclose(value, expected[name], rtol=0, atol=1e-12), name
    for found_running, name in zip(running, ("running_mean", "running_var"), strict=True):
        assert torch.allclose(found_running, expected[name], rtol=0, atol=1e-12), name
