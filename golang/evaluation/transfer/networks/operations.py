"""Operations that torch, or torchvision, has in a form that is not deterministic on a GPU, or is refused there.

Under `torch.use_deterministic_algorithms`, bilinear upsampling and the cross-entropy of maps are refused or rebuilt
from slow parts, and torchvision's RoIAlign becomes a compiled one which, with as many samples as a region needs, takes
memory for regions times pixels. Here both resamplings are matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from golang.evaluation.transfer.networks.losses import wide

_SMALL = 32  # pixels of a map's side up to which a processor is several times as fast with products
_AT_ONCE = 64  # regions that a backward pass takes together, for memory's sake


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [b, C, h, w] at another (height, width), bilinear between middles of pixels, in fp32 or fp64."""
    x = wide(x)
    with torch.autocast(x.device.type, enabled=False):
        down, across = (_between(new, old, x) for new, old in zip(size, x.shape[-2:], strict=True))
        return down @ (x @ across.mT)


def _between(new: int, old: int, like: Tensor) -> Tensor:
    """How much of each of `old` pixels each of `new` ones takes, [new, old]."""
    places = (torch.arange(new, dtype=torch.float64, device=like.device) + 0.5) * (old / new) - 0.5
    return _hat(places.clamp(0, old - 1), old).to(like.dtype)


def _hat(places: Tensor, pixels: int) -> Tensor:
    """The shares of two neighbours among `pixels` at each of `places` [...], [..., pixels]."""
    middles = torch.arange(pixels, dtype=places.dtype, device=places.device)
    return (1 - (places[..., None] - middles).abs()).clamp(min=0)


def roi_align(x: Tensor, boxes: Sequence[Tensor], side: int, stride: int) -> Tensor:
    """Regions of maps [b, C, h, w] as [K, C, side, side], in the order of `boxes`: [n, 4] in pixels for each image.

    As the literature's, with pixels aligned and as many samples as a region has pixels; torchvision's detectors take
    four a bin, half a pixel off.
    """
    x = wide(x)
    images = torch.cat([x.new_full((len(part), 1), image) for image, part in enumerate(boxes)] or [x.new_zeros(0, 1)])
    rois = torch.cat([images, torch.cat([part.to(x) for part in boxes] or [x.new_zeros(0, 4)])], dim=1)
    if torch.are_deterministic_algorithms_enabled() if x.is_cuda else max(x.shape[-2:]) <= _SMALL:
        pooled: Tensor = DeterministicRoIAlign.apply(x, rois, side, 1 / stride)
        return pooled
    return _pool(x, rois, side, 1 / stride)


def _pool(x: Tensor, rois: Tensor, side: int, scale: float) -> Tensor:
    pooled: Tensor = torch.ops.torchvision.roi_align(x, rois, scale, side, side, 0, True)
    return pooled


class DeterministicRoIAlign(torch.autograd.Function):
    """torchvision's kernel there, whose way back adds up by atomics; back by matrix products, in one order.

    A region's bins are D x Aᵀ for a map x: bilinear samples, and their average, are one factor for rows, D [side, h],
    and one for columns, A [side, w]. So the gradient of x is Σ Dᵀ dy A over regions.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rois: Tensor, side: int, scale: float) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(rois)
        ctx.shape, ctx.side, ctx.scale = x.shape, side, scale
        return _pool(x, rois, side, scale)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (rois,), (images, channels, height, width) = ctx.saved_tensors, ctx.shape
        dx = dy.new_zeros(images, height, channels * width)
        with torch.autocast(dy.device.type, enabled=False):
            for image in range(images):
                chosen = (rois[:, 0] == image).nonzero()[:, 0]
                for part in chosen.split(_AT_ONCE) if len(chosen) else ():
                    left, top, right, bottom = (rois[part, 1:] * ctx.scale - 0.5).unbind(1)
                    down, across = _bins(top, bottom, ctx.side, height), _bins(left, right, ctx.side, width)
                    rows = torch.einsum("kcpq,kqw->kpcw", dy[part], across).reshape(-1, channels * width)
                    dx[image].addmm_(down.reshape(-1, height).mT, rows)
        return dx.view(images, height, channels, width).permute(0, 2, 1, 3).contiguous(), None, None, None


def _bins(start: Tensor, end: Tensor, bins: int, pixels: int) -> Tensor:
    """How much of each of `pixels` each bin of regions [k] takes along one side, [k, bins, pixels]."""
    step = (end - start) / bins
    samples = step.ceil().clamp(min=0)
    most = int(samples.amax().clamp(min=1))
    number = torch.arange(most, dtype=start.dtype, device=start.device)
    within = (number + 0.5) / samples.clamp(min=1)[:, None]  # of a bin, [k, most]
    bin_starts = start[:, None] + torch.arange(bins, dtype=start.dtype, device=start.device) * step[:, None]
    places = bin_starts[:, :, None] + (within * step[:, None])[:, None, :]
    taken = (number < samples[:, None])[:, None, :] & (places >= -1) & (places <= pixels)
    shares = _hat(places.clamp(0, pixels - 1), pixels) * taken[..., None]
    return shares.sum(2) / samples.clamp(min=1)[:, None, None]
