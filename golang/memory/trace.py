"""The memory that the trainer's own steps ask for, in order: they run on tensors without contents.

torch's fake tensors have shapes, types and lifetimes, and no memory. They pose as a processor's, for without a GPU
autograd takes none of CUDA; what a GPU keeps besides is added: LARC's vector of updates, DDP's gradient buckets,
cuBLAS' workspace.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from golang.config import NUM_LARGE, Config
from golang.memory.allocator import Event
from golang.method import permutations
from golang.method.model import build_model
from golang.training.optim import build_optimizer
from golang.training.step import TrainStep

STEPS = 2  # from the second on, a step is like the one before
CUBLAS = 32 * 2**20  # bytes of a workspace that torch takes for it from its allocator on Hopper; less on others


@dataclass
class Trace:
    """What a rank asks for, in order, and what of it lies there all the time."""

    events: list[Event] = field(default_factory=list)
    lasting: dict[str, int] = field(default_factory=dict)  # bytes, by what they are for


class Storages(TorchDispatchMode):
    """While entered, notes when memory is asked for and when it is given back."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}  # by id
        self._count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        self.note(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def note(self, tensors: Iterable[Tensor]) -> int:
        """Takes the memory of `tensors` as asked for now, where it is not known; bytes."""
        size = 0
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage.nbytes() and self._known.get(id(storage), lambda: None)() is not storage:
                size += storage.nbytes()
                self._begin(storage)
        return size

    def _begin(self, storage: torch.UntypedStorage) -> None:
        number, key = self._count, id(storage)

        def gone(reference: weakref.ref[torch.UntypedStorage]) -> None:
            self.events.append((number, 0))
            if self._known.get(key) is reference:
                del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.events.append((number, storage.nbytes()))
        self._count += 1


def trace(config: Config, ranks: int) -> Trace:
    """The first steps of one of `ranks` ranks, queues in use and prototypes learning."""
    # apex's LARC needs what ours does, less the vector of updates.
    config = replace(config, optim=replace(config.optim, larc="own", freeze_iterations=0))
    dtype = torch.float64 if config.precision == "fp64" else torch.float32
    drawn = permutations.of_step(config, 0, 0, ranks)
    lasting: dict[str, int] = {}
    model = build_model(config).to(dtype)
    model.trunk.to(memory_format=torch.channels_last)
    with FakeTensorMode() as mode:
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, mode.from_tensor(parameter))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, mode.from_tensor(buffer))
        step = TrainStep(config, model, build_optimizer(config.optim, model), [config.optim.base_lr] * STEPS)
        step.make_queues(ranks)
        queues = [queue for queue in step.queues.values() if queue is not None]
        numbers = sum(parameter.numel() for parameter in model.parameters())
        with Storages() as storages:
            lasting["weights and running statistics"] = storages.note((*model.parameters(), *model.buffers()))
            updates = torch.empty(numbers, dtype=dtype)
            lasting["LARC's momentum and updates"] = 2 * updates.nbytes
            buckets = torch.empty(numbers if ranks > 1 else 0, dtype=dtype)
            lasting["DDP's gradient buckets"] = buckets.nbytes
            workspace = torch.empty(CUBLAS, dtype=torch.uint8)
            lasting["cuBLAS' workspace"] = workspace.nbytes
            lasting["queues"] = storages.note(queue.rows for queue in queues)
            for number in range(STEPS):
                for queue in queues:
                    queue.filled = queue.rows.shape[1]
                lasting["images"] = _train_on(step, number, config.optim.batch_size // ranks, drawn, dtype)
            return Trace(list(storages.events), lasting)


def _train_on(step: TrainStep, number: int, images: int, drawn: Tensor | None, dtype: torch.dtype) -> int:
    """A step on `images` images, as the trainer has it; the bytes of their crops."""
    augment, layout = step.config.augment, torch.channels_last
    sizes = [(NUM_LARGE, augment.large_size), (augment.small_count, augment.small_size)]
    shapes = [(count * images, 3, size, size) for count, size in sizes if count]
    arrived = [torch.empty(shape, dtype=torch.uint8) for shape in shapes]
    large, *small = (torch.empty(shape, dtype=dtype, memory_format=layout) for shape in shapes)
    permutation = None if drawn is None else torch.empty(drawn.shape, dtype=drawn.dtype)
    step(number, large, small[0] if small else None, permutation)
    return sum(crops.nbytes for crops in (*arrived, large, *small))
