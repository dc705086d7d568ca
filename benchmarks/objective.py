"""From logits to the loss and back: `python -m benchmarks.objective`.

Queue, Sinkhorn targets and the three losses with their gradients. The textbook takes each pair of views and each
Sinkhorn problem by itself, permutes logits, and looks into the queue on the host. Loss and gradients are compared in
fp64 first. The limit is the queue's logits at the rate of a large matrix product, plus, at the rate of a copy: of all
logits three reads and a gradient written, and of Sinkhorn's matrices a read of logits, a write, and seven reads.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import textbook, timing
from golang.config import Config, CrossView, Method, Model
from golang.method.model import Branches, SwAV, build_model
from golang.method.objective import compute_losses, make_targets
from golang.method.queue import EmbeddingQueue


@dataclass
class Problem:
    """One step's embeddings and logits, and a full queue."""

    z: Tensor
    logits: Tensor
    local: Tensor  # logits of the local views
    local_embedding: Tensor
    cross: Tensor
    queue: Tensor  # [2, L, D]
    permutations: Tensor
    model: SwAV
    images: int

    def inputs(self) -> list[Tensor]:
        return [self.logits, self.local, self.cross]


def problem(images: int, prototypes: int, queue: int, device: torch.device, dtype: torch.dtype) -> Problem:
    torch.manual_seed(0)
    model = build_model(Config(model=Model("small", 4, 32, 128, prototypes, prototypes))).to(device, dtype)
    model.normalise_prototypes()
    vectors = model.prototypes.weight.detach()

    def unit(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, 128, device=device, dtype=dtype), dim=1)

    def leaf(rows: Tensor) -> Tensor:
        return (rows @ vectors.T).requires_grad_()

    z, local, cross = unit(8 * images), unit(64 * images), unit(2 * images)
    rows = unit(2 * queue).view(2, queue, 128)
    permutations = torch.stack([torch.randperm(32), torch.randperm(32)]).to(device)
    return Problem(z, leaf(z), leaf(local), local, leaf(cross), rows, permutations, model, images)


def ours(p: Problem, queue: EmbeddingQueue) -> list[Tensor]:
    """The loss, and its gradients by the three kinds of logits."""
    branches = Branches(p.z, p.logits, None, None, p.local_embedding, p.local, p.cross)
    targets = make_targets(p.model, branches, p.images, Method(), queue)
    loss = compute_losses(branches, targets, p.images, Method(), CrossView(), p.permutations).total
    return [loss, *torch.autograd.grad(loss, p.inputs())]


def theirs(p: Problem, queue: Tensor) -> list[Tensor]:
    weight = p.model.prototypes.weight
    loss = textbook.losses(p.z, p.logits, p.local, p.cross, weight, p.images, p.permutations, queue)
    return [loss, *torch.autograd.grad(loss, p.inputs())]


def filled(p: Problem) -> EmbeddingQueue:
    queue = EmbeddingQueue(p.queue.shape[1], 128, p.queue.device, p.queue.dtype)
    queue.push(p.queue)
    return queue


def compare(device: torch.device) -> float:
    p = problem(4, 60, 40, device, torch.float64)
    pairs = zip(ours(p, filled(p)), theirs(p, p.queue.clone()), strict=True)
    return max(timing.check_equal("objective", a.detach(), b.detach(), 1e-12) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.objective", description=__doc__)
    parser.add_argument("--images", type=int, help="images a process (8, or 64 on a GPU)")
    parser.add_argument("--prototypes", type=int, default=3000, help="of every kind (3000)")
    parser.add_argument("--queue", type=int, default=1920, help="embeddings a view and process (1920)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every way (9)")
    options = parser.parse_args()
    device = timing.device()
    images = options.images or (64 if device.type == "cuda" else 8)
    off = compare(device)
    p = problem(images, options.prototypes, options.queue, device, torch.float32)
    queue, rows = filled(p), p.queue.clone()
    ways: dict[str, timing.Way] = {"textbook": lambda: theirs(p, rows), "ours": lambda: ours(p, queue)}
    seconds = timing.interleaved(ways, device, options.rounds)
    launched = {name: timing.work(way, device).launches for name, way in ways.items()}
    cosines = 2 * (images + options.queue + 32 * images) * options.prototypes  # what Sinkhorn goes through
    passes = 4 * (4 * sum(x.numel() for x in p.inputs()) + 9 * cosines) / timing.bandwidth(device)
    limit = passes + 4 * options.queue * 128 * options.prototypes / timing.matmul_peak(device)
    table = [(name, 1e3 * taken, seconds["textbook"] / taken, launched[name], limit / taken)
             for name, taken in seconds.items()]  # fmt: skip
    result: dict[str, object] = {
        "bench": "objective",
        "ratio": seconds["textbook"] / seconds["ours"],
        "limit_share": limit / seconds["ours"],
        "launches": launched["ours"],
        "launches_textbook": launched["textbook"],
        "off": off,
    }
    title = f"objective of {images} images, {options.prototypes} prototypes, queue {options.queue}"
    timing.show(title, ("way", "ms", "× textbook", "launches", "share of the limit"), table, result, device)


if __name__ == "__main__":
    main()
