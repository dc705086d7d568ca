"""What torch is told before a rank computes."""

from __future__ import annotations

import os

import pytest
import torch

from golang.config import Config
from golang.engine import determinism
from golang.world import World
from tests.golden.runs import on_ranks


def set_up(rank: int, inputs: tuple[str, dict[str, str]]) -> dict[str, torch.Tensor]:
    device, environment = inputs
    os.environ |= environment
    torch.cuda.set_device = lambda device: None
    determinism.set_up(Config(deterministic=True), torch.device(device), World(0, 1))
    assert torch.are_deterministic_algorithms_enabled()
    order = int(os.environ.get("NCCL_LAUNCH_ORDER_IMPLICIT", -1))
    return {"fills": torch.tensor(torch.utils.deterministic.fill_uninitialized_memory), "order": torch.tensor(order)}


def after(device: str, **environment: str) -> dict[str, torch.Tensor]:
    """What holds in a process of its own, for all of it is for good."""
    return on_ranks(1, set_up, (device, environment))[0]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_deterministic_mode_does_not_fill_what_it_makes(device: str) -> None:
    assert not after(device)["fills"]


def test_two_communicators_start_their_kernels_in_one_order() -> None:
    """Unless the user says otherwise."""
    assert after("cuda")["order"] == 1
    assert after("cuda", NCCL_LAUNCH_ORDER_IMPLICIT="0")["order"] == 0
