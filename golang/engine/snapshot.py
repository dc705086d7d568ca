"""Copies of a run's tensors that later steps can't change, taken without stopping the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Snapshot:
    """A copy on the CPU of tensors in any nesting of containers, as they are at this point of the device's work.

    A GPU's tensors are copied there first, between what its stream was given before and what it is given next, and from
    those copies into page-locked memory on a stream of its own: neither the GPU's next step nor the host waits. The
    memory of both copies is torch's allocators', which hand it out again once it was read.
    """

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - any nesting of containers
        self._copied: torch.cuda.Event | None = None
        self._value = _each(value, lambda tensor: tensor.detach().clone())
        gpus: list[torch.device] = []
        _each(self._value, lambda tensor: gpus.append(tensor.device) if tensor.is_cuda else None)
        if not gpus:
            return
        stream, self._copied = torch.cuda.Stream(gpus[0]), torch.cuda.Event(blocking=True)
        stream.wait_stream(torch.cuda.current_stream(gpus[0]))
        with torch.cuda.stream(stream):
            self._value = _each(self._value, lambda tensor: _fetched(tensor, stream))
        self._copied.record(stream)

    def read(self) -> Any:  # noqa: ANN401 - of the value's own kind
        """The copy; waits until a GPU has made it. Any thread may call it."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._value

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        sizes: list[int] = []
        _each(self._value, lambda tensor: sizes.append(tensor.numel() * tensor.element_size()))
        return sum(sizes)


def _each(value: Any, act: Callable[[Tensor], Any]) -> Any:  # noqa: ANN401 - any nesting of containers
    """`value` with `act` of every tensor in its place."""
    if isinstance(value, Tensor):
        return act(value)
    if isinstance(value, dict):
        return {key: _each(item, act) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_each(item, act) for item in value)
    return value


def _fetched(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """On the CPU, in page-locked memory, once `stream`, the current one, gets there."""
    if not tensor.is_cuda:
        return tensor
    tensor.record_stream(stream)  # or its memory might be given away while it is still read
    return tensor.to("cpu", non_blocking=True)
