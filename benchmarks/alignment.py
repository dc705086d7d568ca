"""Semantic attention and alignment, forward and backward: `python -m benchmarks.alignment`.

The textbook calls the projection head once a position, the trainer once. Local views, gradients and running statistics
are compared in fp64 first. The limit is the head's matrix products, at the rate of a large square one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import textbook, timing
from golang.method.attention import local_views, semantic_attention
from golang.method.heads import ProjectionHead

HEADS = 4
Align = Callable[[nn.Module, Tensor], Tensor]


def ours(head: nn.Module, features: Tensor) -> Tensor:
    assert isinstance(head, ProjectionHead)
    positions = head.at_positions(features.flatten(2).transpose(1, 2))
    return local_views(features.flatten(2), semantic_attention(positions), HEADS)


def theirs(head: nn.Module, features: Tensor) -> Tensor:
    return textbook.aligned(head, features, HEADS)


def both_passes(align: Align, head: nn.Module, features: Tensor, gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Local views, and the gradients of the features and of the head, given that of the views."""
    views = align(head, features)
    return views, list(torch.autograd.grad(views, [features, *head.parameters()], gradient))


def compare(device: torch.device, channels: int, hidden: int, dimensions: int) -> float:
    """The greatest difference between both ways in fp64, over results, gradients and buffers."""
    torch.manual_seed(0)
    features = torch.randn(4, channels, 7, 7, device=device, dtype=torch.float64).requires_grad_()
    one = ProjectionHead(channels, hidden, dimensions).to(device, torch.float64)
    other = textbook.Model._head(channels, hidden, dimensions).to(device, torch.float64)
    other.load_state_dict(one.state_dict())
    arriving = torch.randn(4 * dimensions // HEADS, channels, device=device, dtype=torch.float64)
    views, gradients = both_passes(ours, one, features, arriving)
    expected, wanted = both_passes(theirs, other, features, arriving)
    pairs = [(views, expected), *zip(gradients, wanted, strict=True), *zip(one.buffers(), other.buffers(), strict=True)]
    return max(timing.check_equal("alignment", a, b, 1e-10) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    parser.add_argument("--images", type=int, help="images a process (8, or 64 on a GPU)")
    parser.add_argument("--channels", type=int, default=2048, help="of the feature map (2048)")
    parser.add_argument("--hidden", type=int, default=2048, help="of the head (2048)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every way (7)")
    options = parser.parse_args()
    device = timing.device()
    images, channels, dimensions = options.images or (64 if device.type == "cuda" else 8), options.channels, 128
    off = compare(device, min(channels, 256), min(options.hidden, 256), dimensions)
    head = ProjectionHead(channels, options.hidden, dimensions).to(device)
    features = torch.randn(2 * images, channels, 7, 7, device=device)
    arriving = torch.randn(2 * images * dimensions // HEADS, channels, device=device)
    maps = {
        "textbook": features.clone().requires_grad_(),
        "ours": features.contiguous(memory_format=torch.channels_last).requires_grad_(),
    }
    ways: dict[str, timing.Way] = {
        "textbook": lambda: both_passes(theirs, head, maps["textbook"], arriving),
        "ours": lambda: both_passes(ours, head, maps["ours"], arriving),
    }
    seconds = timing.interleaved(ways, device, options.rounds)
    launched = {name: timing.work(way, device).launches for name, way in ways.items()}
    rows_of_positions = 2 * images * 49
    products = options.hidden * (channels + dimensions) + 2 * dimensions // HEADS * channels
    limit = 3 * 2 * rows_of_positions * products / timing.matmul_peak(device)
    rows = [(name, 1e3 * taken, seconds["textbook"] / taken, launched[name], limit / taken)
            for name, taken in seconds.items()]  # fmt: skip
    result: dict[str, object] = {
        "bench": "alignment",
        "ratio": seconds["textbook"] / seconds["ours"],
        "limit_share": limit / seconds["ours"],
        "launches": launched["ours"],
        "launches_textbook": launched["textbook"],
        "off": off,
    }
    title = f"alignment of {2 * images} maps of {channels} × 7 × 7, forward and backward"
    timing.show(title, ("way", "ms", "× textbook", "launches", "share of the limit"), rows, result, device)


if __name__ == "__main__":
    main()
