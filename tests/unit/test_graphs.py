"""The trunk's CUDA graphs, on a processor: a graph is played by a tape of operations that does them again, into the
same memory. What differs on a GPU is that a capture does none of them, and that memory is used again."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from golang.collectives import world_size
from golang.config import Config
from golang.engine.distributed import data_parallel, leave
from golang.method import trunk
from golang.method.permutations import local_permutations
from golang.training.graphs import TrunkGraphs
from golang.training.step import TrainStep
from tests.golden.runs import on_ranks
from tests.unit.test_method import crops, step_of, tiny

IMAGES, STEPS = 4, 3


class Tape(TorchDispatchMode):
    """Stands for torch.cuda.CUDAGraph and torch.cuda.graph."""

    replays = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def pool(self) -> None: ...

    def reset(self) -> None: ...

    def replay(self) -> None:
        Tape.replays += 1
        for func, args, kwargs, out in self.calls:
            if func.is_view:
                continue
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(new, torch.ScriptObject):
                    dist.Work.unbox(new).wait()
                elif isinstance(old, Tensor) and old is not new:
                    old.copy_(new)


def play(patch: pytest.MonkeyPatch) -> None:
    """Has processors capture."""
    patch.setattr(torch.cuda, "CUDAGraph", Tape)
    patch.setattr(torch.cuda, "graph", lambda tape, **_: tape)
    patch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    patch.setattr(torch.cuda, "Stream", object)
    patch.setattr(torch.cuda, "synchronize", lambda: None)
    patch.setattr(Tape, "replays", 0)


def settings(method: str, precision: str, accumulate: int = 1) -> Config:
    sizes = {"large_size": 32, "small_size": 16, "small_count": 2}
    optim = {"accumulate": accumulate, "batch_size": IMAGES}
    return tiny(method={"name": method}, precision=precision, augment=sizes, queue={"length": 2 * IMAGES}, optim=optim)


def trained(config: Config, graphs: bool, seed: int = 0) -> tuple[TrainStep, list[Tensor]]:
    step = step_of(config)
    step.make_queues(world_size())
    step.model.trunk.to(memory_format=torch.channels_last)
    if graphs:
        step.model.feature_maps = TrunkGraphs(step.model.trunk, config, IMAGES // config.optim.accumulate)
    step.forward = data_parallel(step.model)
    losses = []
    for number in range(STEPS):
        large, small = (size.roll(number + 5 * seed, 0) * (1 + number) for size in crops(IMAGES))
        drawn = local_permutations("batch", 4, 0, number, 0, IMAGES) if config.method.name == "golang" else None
        losses.append(step(number, large, small, drawn).total.detach())
    return step, losses


def whole(step: TrainStep, losses: list[Tensor]) -> dict[str, Tensor]:
    """All that a step leaves."""
    found = {f"loss {number}": loss for number, loss in enumerate(losses)} | dict(step.model.state_dict())
    names = {parameter: name for name, parameter in step.model.named_parameters()}
    momenta = {f"{names[p]} momentum": state["momentum_buffer"] for p, state in step.optimizer.state.items()}
    rows = {name: queue.rows for name, queue in step.queues.items() if queue is not None}
    return found | momenta | rows


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", ["golang", "swav"])
def test_not_a_bit_differs(method: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(method, precision)
    without = whole(*trained(config, graphs=False))
    play(monkeypatch)
    with_graphs = whole(*trained(config, graphs=True))
    assert Tape.replays == 2 * STEPS
    assert without.keys() == with_graphs.keys()
    assert [name for name, value in without.items() if not torch.equal(value, with_graphs[name])] == []


def test_not_a_bit_differs_by_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gradients add up, a replay must not write over those of the micro-batch before."""
    config = settings("golang", "fp32", accumulate=2)
    without = whole(*trained(config, graphs=False))
    play(monkeypatch)
    with_graphs = whole(*trained(config, graphs=True))
    assert Tape.replays == 6 * STEPS, "for each of two: forward twice, backward once"
    assert [name for name, value in without.items() if not torch.equal(value, with_graphs[name])] == []


def test_a_capture_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run captures anew: its running statistics and random numbers are those of the run it goes on with."""
    play(monkeypatch)
    config = settings("golang", "fp32")
    step, _ = trained(config, graphs=False)
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    numbers = torch.get_rng_state()
    TrunkGraphs(step.model.trunk, config, IMAGES)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert [name for name, value in step.model.state_dict().items() if not torch.equal(value, before[name])] == []
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in step.model.parameters())


def test_what_was_not_captured_passes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another number of images, no small crops, evaluation mode."""
    play(monkeypatch)
    step, _ = trained(settings("golang", "fp32"), graphs=True)
    model, done = step.model, Tape.replays
    with torch.no_grad():
        large, small = crops(IMAGES)
        for batch in (crops(IMAGES - 1), (large, None)):
            expected = [model.trunk(size) for size in batch if size is not None]
            found = model.feature_maps(*batch)
            assert all(torch.equal(each, other) for each, other in zip(found, expected, strict=True))
        model.eval()
        running, _ = model.feature_maps(large, small)
        assert torch.equal(running, model.trunk(large))
    assert Tape.replays == done


def test_large_crops_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch)
    config = tiny(method={"name": "swav"}, precision="fp32", augment={"large_size": 32, "small_count": 0})
    model = step_of(config).model
    large = crops(IMAGES)[0].contiguous(memory_format=torch.channels_last)
    expected = model.trunk(large)
    graphs = TrunkGraphs(model.trunk, config, IMAGES)
    (maps,) = graphs(large, None)
    assert torch.equal(maps, expected) and Tape.replays == 1


def test_graphs_are_gone_before_the_ranks_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL would wait for them, without an end."""
    play(monkeypatch)
    config = settings("swav", "fp32")
    held = TrunkGraphs(step_of(config).model.trunk, config, IMAGES)  # as an exception's frames may hold them
    done: list[str] = []
    monkeypatch.setattr(Tape, "reset", lambda self: done.append("reset"))
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: done.append("left"))
    leave()
    assert done == ["reset", "reset", "left"]
    del held


def test_graphs_end_with_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows training needs their memory, and does not wait for the garbage collector."""
    play(monkeypatch)
    step, _ = trained(settings("golang", "fp32"), graphs=True)
    left = weakref.ref(step.model.feature_maps)
    gc.disable()
    try:
        del step
        assert left() is None
    finally:
        gc.enable()


def on_a_rank(rank: int, inputs: tuple[str, bool]) -> dict[bool, dict[str, Tensor]]:
    """Without graphs (False), and with them."""
    precision, together = inputs
    config, found = settings("golang", precision), {}
    for graphs in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trunk, "_waits", lambda _: together)
            if graphs:
                play(patch)
            found[graphs] = whole(*trained(config, graphs, seed=rank))
    return found


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_batch_norm_s_collectives_are_in_the_graph(precision: str, together: bool) -> None:
    """Whether both sizes of crop share them, as over GPUs, or not."""
    for found in on_ranks(2, on_a_rank, (precision, together)):
        assert [name for name, value in found[False].items() if not torch.equal(value, found[True][name])] == []
