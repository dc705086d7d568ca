"""What a step would take on several nodes: `python -m benchmarks.nodes --step-seconds S --nic GB/s`.

A model, not a measurement: a step's collectives, counted from the network's shapes (a test holds the count against two
real ranks), and one rank's measured step time. With R ranks in a ring whose slowest link carries B bytes/s, and L
seconds of latency a hop,

    all-reduce of n bytes a rank: 2·(R − 1)/R · n / B + L·⌈log₂ R⌉
    all-gather of n bytes a rank:   (R − 1) · n / B + L·⌈log₂ R⌉

Batch norm and Sinkhorn are waited for. Gradients travel while the backward pass goes on: the table has the step with
that part hidden whole, and not at all. What a rank does by itself is taken to be the same on all.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from benchmarks import timing
from golang.config import Config, Model, Optim
from golang.method.batchnorm import BatchNorm
from golang.method.model import GOLANG, SwAV, build_model

NODES = (1, 2, 4, 8, 16, 32, 64)
MIB = 2**20


@dataclass(frozen=True)
class Collective:
    """Some of a step's collectives, alike in all but their sizes."""

    purpose: str
    kind: str  # all_reduce or all_gather
    sizes: tuple[int, ...]  # bytes that each rank puts in

    def seconds(self, ranks: int, bandwidth: float, latency: float) -> float:
        share = 2 * (ranks - 1) / ranks if self.kind == "all_reduce" else ranks - 1
        return share * sum(self.sizes) / bandwidth + len(self.sizes) * latency * math.ceil(math.log2(ranks))


def collectives(config: Config, model: SwAV) -> list[Collective]:
    """All of one step's, over several GPUs, in fp32."""
    statistics = tuple(4 * 2 * features for features in _norms(config, model))  # a mean and a deviation, or two sums
    problems = 2 * config.model.prototypes
    if isinstance(model, GOLANG):
        problems += 2 * config.model.local_prototypes
    parameters = list(model.parameters())
    return [
        Collective("batch norm, forward", "all_gather", statistics),
        Collective("batch norm, backward", "all_reduce", statistics),
        Collective("Sinkhorn", "all_reduce", (4 * problems,) * config.method.sinkhorn_iterations),
        Collective("gradients", "all_reduce", _buckets(parameters)),
        Collective("which parameters were used", "all_reduce", (4 * len(parameters),)),
        Collective("stop or save?", "all_reduce", (2 * 8,)),  # between processors; nothing waits for it
    ]


def _norms(config: Config, model: SwAV) -> list[int]:
    """The features of each synchronised batch norm that a step calls; the trunk's call serves both sizes of crop."""
    crops = 2 if config.augment.small_count else 1
    found = [crops * norm.num_features for norm in model.trunk.modules() if isinstance(norm, BatchNorm)]
    found.append(config.model.hidden_dim)
    if isinstance(model, GOLANG):
        size = config.augment.large_size
        with torch.no_grad():
            positions = model.trunk.eval()(torch.zeros(1, 3, size, size)).shape[2:].numel()
        found += [positions * config.model.hidden_dim, config.model.hidden_dim]
    return found


def _buckets(parameters: list[nn.Parameter]) -> tuple[int, ...]:
    """Bytes of DDP's gradient buckets under find_unused_parameters: of 25 MiB, the first of 1."""
    groups, _ = dist._compute_bucket_assignment_by_size(parameters, [MIB, 25 * MIB])  # type: ignore[attr-defined]
    return tuple(sum(4 * parameters[index].numel() for index in group) for group in groups)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nodes", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--step-seconds", type=float, required=True, help="one rank's, by python -m benchmarks.step")
    parser.add_argument(
        "--nic", type=float, required=True, help="GB/s between nodes, of all a node's adapters together"
    )
    parser.add_argument("--link", type=float, help="GB/s within a node (as between nodes)")
    parser.add_argument("--latency", type=float, default=20.0, help="microseconds a hop (20)")
    parser.add_argument("--ranks", type=int, default=8, help="a node (8)")
    parser.add_argument("--images", type=int, default=64, help="a rank and step (64)")
    parser.add_argument("--trunk", default="resnet50", help="(resnet50)")
    options = parser.parse_args()
    config = Config(model=Model(trunk=options.trunk), optim=Optim(batch_size=options.images))
    step = collectives(config, build_model(config))
    counts = [(c.purpose, c.kind, len(c.sizes), sum(c.sizes) / 1e6) for c in step]
    timing.table("a step's collectives", ("what for", "kind", "calls", "MB a rank"), counts)
    rows: list[tuple[object, ...]] = []
    for nodes in NODES:
        ranks = nodes * options.ranks
        bandwidth = 1e9 * (min(options.nic, options.link or options.nic) if nodes > 1 else options.link or options.nic)
        spent = {c.purpose: c.seconds(ranks, bandwidth, 1e-6 * options.latency) for c in step[:-1]}
        waited = sum(spent.values()) - spent["gradients"]
        best, worst = (options.step_seconds + s for s in (waited, waited + spent["gradients"]))
        rows.append(
            (nodes, ranks, 1e3 * waited, 1e3 * spent["gradients"], 1e3 * best, 1e3 * worst,
             ranks * options.images / worst, options.step_seconds / best, options.step_seconds / worst)
        )  # fmt: skip
    columns = (
        "nodes", "ranks", "waiting ms", "gradients ms", "step ms, hidden", "step ms, not", "images/s, not",
        "efficiency, hidden", "not",
    )  # fmt: skip
    result: dict[str, object] = {
        "bench": "nodes",
        "ratio": float(str(rows[-1][6])) / (options.images / options.step_seconds),
        "limit_share": rows[-1][8],
        "calls": sum(len(c.sizes) for c in step),
        "megabytes": sum(sum(c.sizes) for c in step) / 1e6,
    }
    title = f"a step of {1e3 * options.step_seconds:g} ms on a rank, {options.nic:g} GB/s between nodes: a model"
    timing.show(title, columns, rows, result, torch.device("cpu"))


if __name__ == "__main__":
    main()
