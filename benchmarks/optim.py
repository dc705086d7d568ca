"""LARC on a ResNet-50 with all of GOLANG's heads: `python -m benchmarks.optim`.

The textbook reads both norms of every tensor on the host. Three updates in fp64 are compared first, parameters and
momentum. The limit is reading parameters, gradients and momentum and writing two of them, at the rate of a copy.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from benchmarks import textbook, timing
from golang.config import Config, Model
from golang.engine.determinism import keep_freed_memory
from golang.method.model import build_model
from golang.training.optim import LARC

DECAY, TRUST, LR = 1e-6, 1e-3, 0.1


def parameters(trunk: str, device: torch.device, dtype: torch.dtype) -> list[nn.Parameter]:
    """Weights with gradients: a projected network's, the same at every call."""
    torch.manual_seed(0)
    found = list(build_model(Config(model=Model(trunk=trunk))).to(device, dtype).parameters())
    for p in found:
        p.grad = torch.randn_like(p) * 1e-2
    return found


def compare(trunk: str, device: torch.device) -> float:
    """The greatest difference after three updates in fp64; the textbook's works on the gradients in place."""
    one, other = (parameters(trunk, device, torch.float64) for _ in range(2))
    ours, theirs = LARC(one, LR, 0.9, DECAY, TRUST), textbook.LARC(other, DECAY, TRUST)
    for step in range(3):
        for a, b in zip(one, other, strict=True):
            assert a.grad is not None
            a.grad.mul_(step + 1)
            b.grad = a.grad.clone()
        ours.step()
        theirs.step(LR)
    return max(timing.check_equal("optim", a.detach(), b.detach(), 1e-12) for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optim", description=__doc__)
    parser.add_argument("--trunk", default="resnet50", help="of the network (resnet50)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every way (9)")
    options = parser.parse_args()
    device = timing.device()
    keep_freed_memory()  # as the trainer does
    off = compare("small", device)
    one, other = (parameters(options.trunk, device, torch.float32) for _ in range(2))
    ours, theirs = LARC(one, LR, 0.9, DECAY, TRUST), textbook.LARC(other, DECAY, TRUST)
    ways: dict[str, timing.Way] = {"textbook": lambda: theirs.step(LR), "ours": ours.step}
    seconds = timing.interleaved(ways, device, options.rounds)
    launched = {name: timing.work(way, device).launches for name, way in ways.items()}
    numbers = sum(p.numel() for p in one)
    limit = 4 * 5 * numbers / timing.bandwidth(device)
    rows = [(name, 1e3 * taken, seconds["textbook"] / taken, launched[name], limit / taken)
            for name, taken in seconds.items()]  # fmt: skip
    result: dict[str, object] = {
        "bench": "optim",
        "ratio": seconds["textbook"] / seconds["ours"],
        "limit_share": limit / seconds["ours"],
        "launches": launched["ours"],
        "launches_textbook": launched["textbook"],
        "off": off,
    }
    title = f"LARC on {len(one)} tensors of {numbers / 1e6:.1f} M numbers"
    timing.show(title, ("way", "ms", "× textbook", "launches", "share of the limit"), rows, result, device)


if __name__ == "__main__":
    main()
