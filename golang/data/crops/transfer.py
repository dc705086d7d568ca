"""Batches on their way to the device."""

from __future__ import annotations

import torch

from golang.data.crops.multicrop import Crops


class Transfer:
    """Copies batches to a GPU on a stream of its own, while the step before still computes; elsewhere it does nothing.
    The host, which waits for nothing in a step, asks for the next batch long before the GPU is done with this one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Crops) -> Crops:
        """`batch` on the device; the indices of unreadable images stay on the host, which counts them."""
        if self.stream is None:
            return batch
        computing = torch.cuda.current_stream(self.device)
        names = [name for name in batch._fields if name != "unreadable"]
        with torch.cuda.stream(self.stream):
            moved = {name: getattr(batch, name).to(self.device, non_blocking=True) for name in names}
        computing.wait_stream(self.stream)
        for tensor in moved.values():
            tensor.record_stream(computing)  # or its memory might be given away while a kernel still reads it
        return batch._replace(**moved)
