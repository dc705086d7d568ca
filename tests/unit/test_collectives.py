"""How often two ranks talk in a step, and how much they say: as the network's shapes have it, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.nodes import _buckets, collectives
from golang.collectives import gather_from_ranks, gather_rows
from golang.config import Config
from golang.engine.distributed import ControlGroup, data_parallel
from golang.engine.stops import Agreement
from golang.method import trunk
from golang.method.model import build_model
from golang.method.permutations import local_permutations
from golang.method.queue import EmbeddingQueue
from golang.training.optim import build_optimizer
from golang.training.step import TrainStep
from golang.world import World
from tests.golden.runs import on_ranks
from tests.unit.test_method import crops, tiny

# Of the small trunk's 13 norms each sees large and small crops at once; the projection head's is called for the 16
# positions of a large crop and for the pooled features; the local one sees local views.
NORMS = 13 + 3


def settings() -> Config:
    return tiny(augment={"large_size": 32, "small_size": 16})


def count(rank: int, inputs: None) -> dict[str, torch.Tensor]:
    """Every collective of a step whose queue is in use, as GPUs have it: kinds and bytes a rank puts in."""
    trunk._waits = lambda x: True
    config = settings()
    model = build_model(config)
    step = TrainStep(config, model, build_optimizer(config.optim, model), [0.1] * 3, data_parallel(model))
    step.queue = EmbeddingQueue(4, 16, torch.device("cpu"))
    agreement = Agreement(ControlGroup(World(rank, 2)))
    permutations = local_permutations("batch", 4, 0, 0, 0, 4)
    for iteration in range(2):
        step(iteration, *crops(), permutations)
        agreement.exchange(0, False)
    assert step.queue.ready
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        step(2, *crops(), permutations)
        agreement.exchange(0, False)
        agreement.drain()
    events = [event for event in seen.events() if event.name.startswith("gloo:")]
    kinds = {"gloo:all_reduce": 0, "gloo:all_gather": 1}
    calls = [(kinds[event.name], torch.Size(event.input_shapes[0]).numel()) for event in events]
    return {"calls": torch.tensor(calls)}


def test_a_step_on_two_ranks() -> None:
    config = settings()
    expected = collectives(config, build_model(config))
    sizes = {collective.purpose: collective.sizes for collective in expected}
    assert len(sizes["batch norm, forward"]) == len(sizes["batch norm, backward"]) == NORMS
    assert sizes["Sinkhorn"] == (4 * 2 * (10 + 11),) * 3, "one an iteration, for global and local problems together"
    assert sum(sizes["gradients"]) == 4 * sum(p.numel() for p in build_model(config).parameters())
    wanted = Counter(
        # All are of four bytes a number but the agreement's two.
        (collective.kind == "all_gather", size // (8 if collective.purpose == "stop or save?" else 4))
        for collective in expected
        for size in collective.sizes
    )
    for got in on_ranks(2, count, None):
        assert Counter((bool(kind), numbers) for kind, numbers in got["calls"].tolist()) == wanted


def train(rank: int, together: bool) -> dict[str, torch.Tensor]:
    """What three steps leave."""
    trunk._waits = lambda x: together
    config = settings()
    model = build_model(config)
    model.trunk.to(memory_format=torch.channels_last)
    step = TrainStep(config, model, build_optimizer(config.optim, model), [0.1] * 3, data_parallel(model))
    large, small = crops()
    for iteration in range(3):
        step(iteration, large + rank, small - rank, local_permutations("batch", 4, 0, 0, 0, 4))
    return {name: value.clone() for name, value in model.state_dict().items()}


def both_ways(rank: int, inputs: None) -> dict[str, dict[str, torch.Tensor]]:
    return {"together": train(rank, True), "in turn": train(rank, False)}


def test_crops_of_both_sizes_together() -> None:
    """A training in which they pass layer by layer is, bit for bit, the one in which they pass in turn."""
    for found in on_ranks(2, both_ways, None):
        for name, value in found["in turn"].items():
            assert torch.equal(found["together"][name], value), name


def bucketed(rank: int, plain: bool) -> dict[str, torch.Tensor]:
    """The gradients of a step, and in how many places they lie."""
    config = settings()
    model = build_model(config)
    if plain:
        parallel = DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)
    else:
        parallel = data_parallel(model)
    step = TrainStep(config, model, build_optimizer(config.optim, model), [0.1], parallel)
    step(0, *crops(), local_permutations("batch", 4, 0, 0, 0, 4))
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    places = {gradient.untyped_storage().data_ptr() for gradient in found.values()}
    return {**found, "places": torch.tensor(len(places))}


def both_buckets(rank: int, inputs: None) -> dict[str, dict[str, torch.Tensor]]:
    return {"ours": bucketed(rank, plain=False), "plain": bucketed(rank, plain=True)}


def test_gradients_lie_in_their_buckets() -> None:
    """Their numbers are those of DDP as it comes; to the bit, as there is a power of two of ranks."""
    found = on_ranks(2, both_buckets, None)
    buckets = len(_buckets(list(build_model(settings()).parameters())))
    for got, expected in ((ranks["ours"], ranks["plain"]) for ranks in found):
        assert (int(got.pop("places")), int(expected.pop("places"))) == (buckets, len(expected))
        for name, value in expected.items():
            assert torch.equal(got[name], value), name


def test_ddp_says_nothing() -> None:
    """It would warn on each rank that no parameter is unused, and be told so to keep its buckets as they are."""
    step = """
import golang
import torch, torch.distributed as dist
from golang.engine.distributed import data_parallel
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
parallel = data_parallel(torch.nn.Linear(2, 1))
assert parallel.find_unused_parameters
for _ in range(2):
    parallel(torch.ones(1, 2)).sum().backward()
dist.destroy_process_group()
"""
    environment = {key: value for key, value in os.environ.items() if key != "TORCH_CPP_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", step], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def group_of(rank: int, backend: str) -> dict[str, torch.Tensor]:
    torch.distributed.get_backend = lambda *_: backend
    parallel = data_parallel(torch.nn.Linear(2, 1))
    apart = parallel.process_group is not torch.distributed.group.WORLD
    return {"apart": torch.tensor(apart), "ranks": torch.tensor(parallel.process_group.size())}


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_buckets_have_communicators_of_their_own_on_gpus(backend: str) -> None:
    for got in on_ranks(2, group_of, backend):
        assert (bool(got["apart"]), int(got["ranks"])) == (backend == "nccl", 2)


class _Memory(TorchDispatchMode):
    """The bytes of all that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.made[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return out


def gather(rank: int, counts: tuple[int, ...]) -> dict[str, torch.Tensor]:
    own = torch.arange(counts[rank] * 6.0).view(-1, 2, 3) + 1000 * rank
    with _Memory() as memory:
        rows = gather_rows(own)
    whole = gather_from_ranks(torch.tensor([[rank, 1], [2, 3]]))
    return {"rows": rows, "made": torch.tensor(sum(each.nbytes() for each in memory.made.values())), "whole": whole}


def test_rows_of_all_ranks() -> None:
    """Whatever each has; nothing as large as the result is made besides it."""
    counts = (40, 0, 30)
    expected = torch.cat([torch.arange(count * 6.0).view(-1, 2, 3) + 1000 * r for r, count in enumerate(counts)])
    for got in on_ranks(len(counts), gather, counts):
        assert torch.equal(got["rows"], expected)
        assert got["made"] < expected.nbytes + 40 * 24 + 100, "the result, this rank's rows, and the counts"
        assert got["whole"].tolist() == [[[rank, 1], [2, 3]] for rank in range(3)]


def test_the_published_step() -> None:
    """ResNet-50 with six small crops: 112 for batch norm; a call a size would take 218, a call a position too 314."""
    config = Config()
    step = {c.purpose: c for c in collectives(config, build_model(config))}
    assert len(step["batch norm, forward"].sizes) + len(step["batch norm, backward"].sizes) == 112
    assert len(step["Sinkhorn"].sizes) == 3
    assert step["gradients"].seconds(2, 1e9, 0.0) == pytest.approx(sum(step["gradients"].sizes) / 1e9)
    gathered = step["batch norm, forward"]
    assert gathered.seconds(4, 1e9, 1e-5) == pytest.approx(3 * sum(gathered.sizes) / 1e9 + 56 * 2e-5)
