"""The trunk's passes as CUDA graphs, one forward and one backward: where a rank has few images, a kernel is over before
Python has asked for the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from golang.config import NUM_LARGE, Config
from golang.engine.distributed import new_graph
from golang.method.trunk import Trunk
from golang.training.step import autocast

WARM_UP = 3  # passes before the capture, in which cuDNN chooses its algorithms and libraries make their workspaces


class TrunkGraphs:
    """Stands for `Trunk.feature_maps` while training on `images` images a rank; both crop sizes pass in one graph.

    A graph replays what the trunk launches without it, in the same order, batch norm's collectives included. Batches
    of other shapes, and those in evaluation mode, pass as they would without. Feature maps and gradients lie where the
    next step's will. All ranks capture together, before DDP takes the model and before another thread uses the device;
    weights, running statistics and the state of random numbers stay as they were.
    """

    def __init__(self, trunk: Trunk, config: Config, images: int) -> None:
        self.config, self.trunk = config, trunk
        self.parameters = list(trunk.parameters())
        augment, like = config.augment, self.parameters[0]
        sizes = [(NUM_LARGE, augment.large_size), (augment.small_count, augment.small_size)]
        shapes = [(count * images, 3, size, size) for count, size in sizes if count]
        self.crops = [like.new_zeros(shape).contiguous(memory_format=torch.channels_last) for shape in shapes]
        buffers = list(trunk.buffers())
        before = [buffer.clone() for buffer in buffers]
        self._capture()
        torch._foreach_copy_(buffers, before)

    def __call__(self, large: Tensor, small: Tensor | None) -> list[Tensor]:
        crops = [large] if small is None else [large, small]
        if not self.trunk.training or [each.shape for each in crops] != [each.shape for each in self.crops]:
            return self.trunk.feature_maps(large, small)
        return list(_Replay.apply(self, len(crops), *crops, *self.parameters))

    def _capture(self) -> None:
        stream = torch.cuda.Stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                maps = self._pass()
                self._differentiate(maps, [torch.zeros_like(each) for each in maps])
        self.forward, self.backward = new_graph(), new_graph()
        with torch.cuda.graph(self.forward, stream=stream):
            maps = self._pass()
        self.slopes = [torch.zeros_like(each) for each in maps]
        with torch.cuda.graph(self.backward, stream=stream, pool=self.forward.pool()):
            self.gradients = self._differentiate(maps, self.slopes)
        self.maps = [each.detach() for each in maps]  # so that autograd forgets the capture and its stream

    def _pass(self) -> list[Tensor]:
        # Entered here, autocast casts a weight once for both sizes, in the graph.
        with autocast(self.config, self.crops[0].device):
            return self.trunk.together(self.crops)

    def _differentiate(self, maps: Sequence[Tensor], slopes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(maps, self.parameters, slopes)


class _Replay(torch.autograd.Function):
    """Crops and parameters to feature maps."""

    @staticmethod
    def forward(ctx: Any, graphs: TrunkGraphs, sizes: int, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        torch._foreach_copy_(graphs.crops, inputs[:sizes])
        graphs.forward.replay()
        ctx.graphs, ctx.sizes = graphs, sizes
        return tuple(each.detach() for each in graphs.maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        torch._foreach_copy_(ctx.graphs.slopes, slopes)
        ctx.graphs.backward.replay()
        unwanted = [None] * (2 + ctx.sizes)
        # Autograd may take a gradient as it is: where gradients add up, the next replay would write over the sum.
        own = torch.clone if ctx.graphs.config.optim.accumulate > 1 else torch.detach
        return *unwanted, *(own(each) for each in ctx.graphs.gradients)
