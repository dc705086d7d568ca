"""A textbook step and the trainer's, from equal weights and on equal crops, and that their results are equal."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import textbook, timing
from golang.config import Augment, Config, CrossView, Model, Optim, Queue
from golang.method.model import Branches, build_model
from golang.method.objective import Targets, compute_losses, make_targets
from golang.method.permutations import local_permutations
from golang.method.queue import EmbeddingQueue
from golang.method.signs import read_signs
from golang.training.meters import Meter, Sentinel
from golang.training.optim import build_optimizer
from golang.training.step import TrainStep

LR = 0.1
PRECISIONS = ("fp32", "bf16", "fp16")  # that are measured; in fp64 both ways are compared


def settings(trunk: str, images: int, precision: str, **augment: int) -> Config:
    """One of two ranks of the published recipe, which share its queue; with another trunk, batch and precision, and its
    prototypes learning from the first step."""
    return Config(
        precision=precision,  # type: ignore[arg-type]
        model=Model(trunk=trunk),
        optim=Optim(batch_size=images, freeze_iterations=0),
        queue=Queue(length=Queue().length // 2),
        augment=Augment(**augment),  # type: ignore[arg-type]
    )


def random_crops(config: Config, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """One batch of normalised noise, NCHW, one tensor a view."""
    generator = torch.Generator().manual_seed(0)
    sizes = [config.augment.large_size] * 2 + [config.augment.small_size] * config.augment.small_count
    shape = (config.optim.batch_size, 3)
    return [torch.randn(*shape, s, s, generator=generator, dtype=torch.float64).to(device, dtype) for s in sizes]


class Ways:
    """Both steps on one batch that lies on the device."""

    def __init__(self, config: Config, device: torch.device) -> None:
        dtype = torch.float64 if config.precision == "fp64" else torch.float32
        crops = random_crops(config, device, dtype)
        model = build_model(config).to(device, dtype)
        twin = textbook.Model(config).to(device, dtype)
        twin.load_state_dict(model.state_dict())
        model.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rates = [LR] * 1_000_000
        self.step = TrainStep(config, model, build_optimizer(config.optim, model), rates)
        self.textbook = textbook.Step(config, twin)
        if config.queue.length:
            rows, features = config.queue.length, config.model.feature_dim
            self.step.queue = EmbeddingQueue(rows, features, device, dtype)
            self.textbook.queue = torch.zeros(2, rows, features, device=device, dtype=dtype)
        self.meter, self.sentinel = Meter(config, device), Sentinel.on(device)
        self.shown: tuple[Branches, Targets] | None = None
        views = config.model.feature_dim // config.model.group_heads
        self.permutations = local_permutations("batch", views, 0, 0, 0, 1).to(device)
        self.views = crops
        large, *small = (torch.cat(group) for group in (crops[:2], crops[2:]) if group)
        self.large = large.contiguous(memory_format=torch.channels_last)
        self.small = small[0].contiguous(memory_format=torch.channels_last) if small else None

    def fill_queues(self) -> None:
        """As they are from some steps after their epoch on."""
        assert self.step.queue is not None and self.textbook.queue is not None
        rows = F.normalize(torch.randn_like(self.textbook.queue), dim=2)
        self.step.queue.push(rows)
        self.textbook.queue.copy_(rows)

    def ours(self) -> Tensor:
        return self.step(0, self.large, self.small, self.permutations).total

    def theirs(self) -> float:
        return self.textbook(0, LR, self.views, self.permutations)

    def watching(self) -> None:
        """What the trainer notes of each step for its metrics, on the device; `ours` has gone before."""
        if self.shown is None:
            with torch.no_grad():
                branches = self.step.model(self.large, self.small)
            images, method = self.step.config.optim.batch_size, self.step.config.method
            self.shown = branches, make_targets(self.step.model, branches, images, method)
            self.losses = compute_losses(*self.shown, images, method, CrossView(), self.permutations)
        signs = read_signs(*self.shown)
        self.sentinel.look(0, self.losses.total, self.step.optimizer)
        self.meter.add(self.losses, signs, self.step.optimizer)

    def trunk(self) -> None:
        """The trunk alone, there and back, in the trainer's layout."""
        trunk, precision = self.step.model.trunk, self.textbook.dtype
        with torch.autocast(self.large.device.type, dtype=precision, enabled=precision is not None):
            maps = [trunk(crops) for crops in (self.large, self.small) if crops is not None]
        torch.autograd.backward([m.float().mean() for m in maps])
        trunk.zero_grad(set_to_none=True)


def compare(device: torch.device) -> float:
    """Three steps of both in fp64 on a small network, its queue in use at the last: the greatest difference of weights
    and losses. Biases before a batch norm are excluded: their gradients are rounding noise, which LARC scales up."""
    small = settings("resnet18", 4, "fp64", large_size=64, small_size=32, small_count=2)
    small = replace(small, model=Model("resnet18", 4, 32, 16, 20, 24), queue=Queue(length=8))
    ways, off = Ways(small, device), 0.0
    for _ in range(3):
        theirs = torch.tensor(ways.theirs(), dtype=torch.float64)
        off = max(off, timing.check_equal("loss", ways.ours(), theirs, 1e-8))
    expected = ways.textbook.model.state_dict()
    for name, value in ways.step.model.state_dict().items():
        if not name.endswith("projection_head.0.bias"):
            off = max(off, timing.check_equal(name, value, expected[name], 1e-8))
    return off
