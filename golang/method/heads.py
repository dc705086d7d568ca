"""Projection heads and prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golang.method.batchnorm import BatchNorm


def normalised(x: Tensor, dim: int) -> Tensor:
    """`x` at unit length along `dim`, in fp32 or better, as CUDA's autocast has it: half precision squares what is
    below 2.4e-4 to zero."""
    return F.normalize(x if x.dtype == torch.float64 else x.float(), dim=dim)


class ProjectionHead(nn.Sequential):
    """Linear, batch norm, ReLU, linear: [R, C] → [R, D]."""

    def __init__(self, channels: int, hidden: int, features: int) -> None:
        super().__init__(
            nn.Linear(channels, hidden), BatchNorm(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, features)
        )

    def at_positions(self, features: Tensor) -> Tensor:
        """Projects [R, P, C] → [R, P, D] as P calls would, position by position, each with its own batch statistics."""
        expand, norm, activate, project = self
        assert isinstance(norm, BatchNorm)
        projected: Tensor = project(activate(norm.at_positions(expand(features))))
        return projected


class Prototypes(nn.Linear):
    """Prototype vectors [K, D]; calling it gives the logits of embeddings [R, D] → [R, K]."""

    def __init__(self, features: int, prototypes: int) -> None:
        super().__init__(features, prototypes, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        # Cosines feed exp(·/ε) with ε = 0.05: half precision would be amplified twentyfold, so autocast stays out.
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.to(self.weight.dtype), self.weight)

    @torch.no_grad()
    def normalise(self) -> None:
        """Gives every prototype unit length, in place."""
        self.weight.copy_(normalised(self.weight, dim=1))
