"""What torch is told before a rank computes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SET_UP = """
import os, torch
from golang.config import Config
from golang.engine import determinism
from golang.world import World
torch.cuda.set_device = lambda device: None
determinism.set_up(Config(deterministic=True), torch.device(DEVICE), World(0, 1))
assert torch.are_deterministic_algorithms_enabled()
print(torch.utils.deterministic.fill_uninitialized_memory, os.environ.get("NCCL_LAUNCH_ORDER_IMPLICIT"))
"""


def said(device: str, **environment: str) -> str:
    """In a process of its own, for all of it is for good."""
    program = SET_UP.replace("DEVICE", repr(device))
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_deterministic_mode_does_not_fill_what_it_makes(device: str) -> None:
    assert said(device).startswith("False ")


def test_two_communicators_start_their_kernels_in_one_order() -> None:
    """Unless the user says otherwise."""
    assert said("cuda").endswith(" 1")
    assert said("cuda", NCCL_LAUNCH_ORDER_IMPLICIT="0").endswith(" 0")
