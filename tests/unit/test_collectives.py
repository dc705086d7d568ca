"""How often two ranks talk in a step, and how much they say: as the network's shapes have it, and no more."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.nodes import collectives
from golang.config import Config
from golang.engine.distributed import ControlGroup, data_parallel
from golang.engine.stops import Agreement
from golang.method.model import build_model
from golang.method.permutations import local_permutations
from golang.method.queue import EmbeddingQueue
from golang.training.optim import build_optimizer
from golang.training.step import TrainStep
from golang.world import World
from tests.golden.runs import on_two_ranks
from tests.unit.test_method import crops, tiny

# The small trunk's 13 norms see large and small crops; so does the projection head's, once for the 16 positions of a
# large crop and once for the pooled features; the local one sees local views.
NORMS = 2 * 13 + 3


def settings() -> Config:
    return tiny(augment={"large_size": 32, "small_size": 16})


def count(rank: int, inputs: None) -> dict[str, torch.Tensor]:
    """Every collective of a step whose queue is in use: kinds and bytes a rank puts in."""
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
    for got in on_two_ranks(count, None):
        assert Counter((bool(kind), numbers) for kind, numbers in got["calls"].tolist()) == wanted


def test_the_published_step() -> None:
    """ResNet-50 with six small crops: 218 for batch norm, where a call a position would take 314."""
    config = Config()
    step = {c.purpose: c for c in collectives(config, build_model(config))}
    assert len(step["batch norm, forward"].sizes) + len(step["batch norm, backward"].sizes) == 218
    assert len(step["Sinkhorn"].sizes) == 3
    assert step["gradients"].seconds(2, 1e9, 0.0) == pytest.approx(sum(step["gradients"].sizes) / 1e9)
    gathered = step["batch norm, forward"]
    assert gathered.seconds(4, 1e9, 1e-5) == pytest.approx(3 * sum(gathered.sizes) / 1e9 + 109 * 2e-5)
