"""A batch worked on by micro-batches gives what the whole gives, but for batch norm, which sees a micro-batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.nodes import collectives
from golang.config import Config
from golang.engine.distributed import data_parallel
from golang.method.model import build_model
from golang.method.permutations import local_permutations
from golang.method.queue import globalise
from golang.training.meters import SCALARS, Meter
from golang.training.microbatches import Batch
from golang.training.optim import build_optimizer
from golang.training.step import TrainStep
from tests.golden.runs import on_ranks
from tests.unit.test_method import tiny

IMAGES, VIEWS = 8, 4  # a step; local views a large crop
QUEUES = {"length": 16, "local_length": 64, "start_epoch": 0}


def settings(accumulate: int, **changes: object) -> Config:
    optim = {"freeze_iterations": 1, "batch_size": IMAGES, "accumulate": accumulate}
    augment = {"large_size": 32, "small_count": 3, "small_size": 16}
    return tiny(**{"precision": "fp64", "queue": QUEUES, "optim": optim, "augment": augment, **changes})


def step_of(config: Config, ranks: int = 1) -> TrainStep:
    model = build_model(config).double()
    step = TrainStep(config, model, build_optimizer(config.optim, model), [0.1] * 9, data_parallel(model))
    step.make_queues(ranks)
    return step


def batch(seed: int, permutation: str = "batch", rank: int = 0, ranks: int = 1) -> Batch:
    """Step `seed`'s, or a rank's share of it."""
    draw, share = torch.Generator().manual_seed(seed), IMAGES // ranks
    large = torch.randn(2, IMAGES, 3, 32, 32, generator=draw, dtype=torch.float64)
    small = torch.randn(3, IMAGES, 3, 16, 16, generator=draw, dtype=torch.float64)
    own = slice(rank * share, (rank + 1) * share)
    permutations = local_permutations(permutation, VIEWS, 0, seed, own.start, share)
    return Batch(large[:, own].flatten(0, 1), small[:, own].flatten(0, 1), permutations)


def trained(step: TrainStep, number: int, one: Batch) -> dict[str, Tensor]:
    """What step `number` leaves behind and says."""
    losses = step(number, one.large, one.small, one.permutations)
    meter = Meter(step.config, step.device)
    meter.add(losses, step.signs, step.optimizer)
    gradients = {f"{name}.grad": p.grad for name, p in step.model.named_parameters() if p.grad is not None}
    queues = {name: queue.rows for name, queue in step.queues.items() if queue is not None}
    found = {**gradients, **queues, **step.model.state_dict(), "meter": meter.sums}
    return {name: tensor.clone() for name, tensor in found.items()}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor], leave_out: tuple[str, ...] = ()) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if not name.endswith(leave_out):
            assert (found[name] - value).abs().max() <= 1e-10, name


@pytest.mark.parametrize("permutation", ["batch", "image", "matched"])
@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_golang_is_the_whole_batch_s(accumulate: int, permutation: str) -> None:
    """Gradients, weights, queues and metrics, frozen and thawed, queues filling and in use; batch norm looks away."""
    whole, parts = (step_of(settings(count, method={"local_permutation": permutation})) for count in (1, accumulate))
    whole.model.eval(), parts.model.eval()
    for number in range(4):
        assert whole.queue is not None and parts.queue is not None and whole.queue.ready is (number >= 2)
        one = batch(number, permutation)
        assert_equal(trained(parts, number, one), trained(whole, number, one))


@pytest.mark.parametrize("accumulate", [2, 4])
def test_swav_is_the_whole_batch_s(accumulate: int) -> None:
    queue = {"length": 16, "start_epoch": 0}
    whole, parts = (step_of(settings(count, method={"name": "swav"}, queue=queue)) for count in (1, accumulate))
    whole.model.eval(), parts.model.eval()
    for number in range(4):
        one = batch(number)
        one.permutations = None
        assert_equal(trained(parts, number, one), trained(whole, number, one))


def test_without_small_crops() -> None:
    whole, parts = (step_of(settings(count)) for count in (1, 2))
    whole.model.eval(), parts.model.eval()
    one = batch(0)
    one.small = None
    assert_equal(trained(parts, 0, one), trained(whole, 0, one))


def test_batch_norm_sees_each_micro_batch_once() -> None:
    """Running statistics are those of the micro-batches, one after the other; the pass for the targets leaves none."""
    step, plain = step_of(settings(4)), step_of(settings(4))
    one = batch(0)
    step.gradients(0, one.large, one.small, one.permutations)
    plain.model.normalise_prototypes()
    for number in range(4):
        images = [number, number + 4]
        assert IMAGES == 8 and images == list(range(IMAGES))[number::4]
        large, small = (rows.unflatten(0, (-1, IMAGES))[:, images].flatten(0, 1) for rows in (one.large, one.small))
        plain.model(large, small)
    assert step.model.trunk.bn1.num_batches_tracked == 8, "large and small crops of four micro-batches"
    assert_equal(dict(step.model.named_buffers()), dict(plain.model.named_buffers()))


def test_activations_of_one_micro_batch() -> None:
    """What autograd keeps at any time."""
    assert peak(4) < 0.3 * peak(1) and peak(2) < 0.55 * peak(1)


def peak(accumulate: int) -> int:
    """The most bytes that backward passes held at once, weights apart."""
    step, one = step_of(settings(accumulate)), batch(0)
    weights = {parameter.untyped_storage().data_ptr() for parameter in step.model.parameters()}
    held = {"now": 0, "most": 0}

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            self.size = 0 if tensor.untyped_storage().data_ptr() in weights else tensor.nbytes
            held["now"] += self.size
            held["most"] = max(held["most"], held["now"])

        def __del__(self) -> None:
            held["now"] -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda saved: saved.tensor):
        step.gradients(0, one.large, one.small, one.permutations)
    return held["most"]


def test_a_micro_batch_keeps_the_layout() -> None:
    one = batch(0)
    one.large = one.large.contiguous(memory_format=torch.channels_last)
    part = one.part(1, 2)
    assert part.large.is_contiguous(memory_format=torch.channels_last) and len(part.large) == IMAGES
    assert torch.equal(part.large[4], one.large[9]), "image 1 of view 1"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision(precision: str) -> None:
    """The scaler looks once a batch, and a batch that overflowed in one micro-batch is skipped whole."""
    config = settings(2, precision=precision)
    model = build_model(config)
    step = TrainStep(config, model, build_optimizer(config.optim, model), [0.1] * 9)
    step.make_queues(1)
    one = batch(0)
    one.large, one.small = one.large.float(), one.small.float()
    before = nn.utils.parameters_to_vector(model.trunk.parameters()).clone()
    one.large[1] = 1e30  # of the second micro-batch
    step(0, one.large, one.small, one.permutations)
    if precision == "fp16":
        assert bool(step.optimizer.skipped) and step.scaler.get_scale() == 2.0**15
        assert torch.equal(nn.utils.parameters_to_vector(model.trunk.parameters()), before)
    else:
        assert not step.scaler.is_enabled()
    assert all(buffer.dtype in (torch.float32, torch.int64) for buffer in model.buffers())


def two_steps(rank: int, permutation: str) -> dict[str, Tensor]:
    step = step_of(settings(2, method={"local_permutation": permutation}), ranks=2)
    for number in range(2):
        found = trained(step, number, batch(number, permutation, rank, ranks=2))
    one = batch(2, permutation, rank, ranks=2)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        step.gradients(2, one.large, one.small, one.permutations)
    sizes = [torch.Size(e.input_shapes[0]).numel() for e in seen.events() if e.name == "gloo:all_reduce"]
    return {**found, "sizes": torch.tensor(sizes)}


@pytest.mark.parametrize("permutation", ["batch", "image"])
def test_two_ranks_are_one(permutation: str) -> None:
    """Batch norm over both ranks' part of a micro-batch; gradients travel once a batch."""
    config = settings(2, method={"local_permutation": permutation})
    alone = step_of(config)
    for number in range(2):
        wanted = trained(alone, number, batch(number, permutation))
    ranks = on_ranks(2, two_steps, permutation)
    sizes = [rank.pop("sizes") for rank in ranks]
    found = dict(ranks[0])
    for name, rows in (("queue", IMAGES // 2), ("local_queue", IMAGES * VIEWS // 2)):
        found[name] = globalise(torch.stack([rank[name] for rank in ranks]), rows)
    found["meter"] = torch.stack([rank["meter"] for rank in ranks]).mean(0)
    wanted["meter"][len(SCALARS) :] /= 2  # counts, which the ranks share
    # A bias before a batch norm has no gradient but rounding, which LARC scales up.
    assert_equal(found, wanted, leave_out=("projection_head.0.bias", "projection_head.0.bias.grad"))
    numbers = {c.purpose: sum(c.sizes) // 4 for c in collectives(config, build_model(config)) if c.kind == "all_reduce"}
    once = sum(numbers[purpose] for purpose in ("Sinkhorn", "gradients", "which parameters were used"))
    assert [int(each.sum()) for each in sizes] == [once + 2 * numbers["batch norm, backward"]] * 2
