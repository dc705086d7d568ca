"""GOLANG the textbook way: the baseline every benchmark measures against, and checks the trainer to be equal to.

One projection-head call a position, one Sinkhorn an all-reduce a view, loops over views, LARC that looks at every norm
on the host, contiguous (NCHW) tensors, and an augmentation by torchvision and Pillow with streamed draws. Names in the
state dict are the trainer's, so that one can start from the other's weights.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.utils.data import Dataset

from golang.config import Augment, Config
from golang.data.crops.draw import ViewParameters
from golang.method.trunk import build_trunk

T = torchvision.transforms
TF = torchvision.transforms.functional
MEAN, STD = (0.485, 0.456, 0.406), (0.228, 0.224, 0.225)


class Blur:
    """Pillow's Gaussian with a streamed radius, for half of the images."""

    def __call__(self, image: Image.Image) -> Image.Image:
        if random.random() >= 0.5:
            return image
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def transform(size: int, scale: tuple[float, float], s: Augment) -> T.Compose:
    """One crop's pipeline, from an RGB image to a normalised float tensor."""
    jitter = T.ColorJitter(s.brightness, s.contrast, s.saturation, s.hue)
    return T.Compose(
        [
            T.RandomResizedCrop(size, scale=scale),
            T.RandomHorizontalFlip(s.flip_probability),
            T.RandomApply([jitter], s.color_probability),
            T.RandomGrayscale(s.gray_probability),
            Blur(),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )


def rendered(image: Image.Image, parameters: ViewParameters, size: int) -> Tensor:
    """The same pipeline with parameters that were drawn before: float [3, size, size]."""
    top, left, height, width = parameters.box
    view = TF.resized_crop(image, top, left, height, width, [size, size])
    if parameters.flip:
        view = TF.hflip(view)
    if parameters.color is not None:
        adjust = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
        for index in parameters.color.order:
            view = adjust[index](view, parameters.color.factors[index])
    if parameters.gray:
        view = TF.to_grayscale(view, 3)
    if parameters.blur_radius is not None:
        view = view.filter(ImageFilter.GaussianBlur(parameters.blur_radius))
    return TF.normalize(TF.to_tensor(view), MEAN, STD)


class Views(Dataset[list[Tensor]]):
    """All crops of encoded images, as a list of float tensors."""

    def __init__(self, files: Sequence[bytes], s: Augment) -> None:
        self.files = files
        self.transforms = [transform(s.large_size, s.large_scale, s)] * 2
        self.transforms += [transform(s.small_size, s.small_scale, s)] * s.small_count

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list[Tensor]:
        image = Image.open(io.BytesIO(self.files[index])).convert("RGB")
        return [one(image) for one in self.transforms]


def aligned(projection_head: nn.Module, features: Tensor, heads: int) -> Tensor:
    """Local views [M·n, C] of a feature map [M, C, h, w]: one call of the head a position, one product a head."""
    flat = features.flatten(2)
    positions = [projection_head(flat[:, :, p]) for p in range(flat.shape[2])]
    attention = torch.softmax(F.normalize(torch.stack(positions, dim=2), dim=1), dim=2)
    parts = [
        torch.bmm(channels, weights.transpose(1, 2))
        for channels, weights in zip(flat.chunk(heads, 1), attention.chunk(heads, 1), strict=True)
    ]
    return torch.cat(parts, dim=1).transpose(1, 2).flatten(0, 1)


class Model(nn.Module):
    """Trunk, heads and prototypes, with torch's own batch norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        m = config.model
        self.trunk = build_trunk(m.trunk)
        self.heads = m.group_heads
        self.projection_head = self._head(self.trunk.channels, m.hidden_dim, m.feature_dim)
        self.prototypes = nn.Linear(m.feature_dim, m.prototypes, bias=False)
        self.local_projection_head = self._head(self.trunk.channels, m.hidden_dim, m.feature_dim)
        self.local_prototypes = nn.Linear(m.feature_dim, m.local_prototypes, bias=False)
        self.l2g_prototypes = nn.Linear(m.feature_dim, m.prototypes, bias=False)

    @staticmethod
    def _head(channels: int, hidden: int, features: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, features)
        )

    def forward(self, crops: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Embeddings and logits of V crops, the same of local views, and the cross-view logits; rows are view-major."""
        maps = [self.trunk(torch.cat(list(crops[:2])))]
        if len(crops) > 2:
            maps.append(self.trunk(torch.cat(list(crops[2:]))))
        local_features = aligned(self.projection_head, maps[0], self.heads)
        pooled = torch.cat([features.mean((2, 3)) for features in maps])
        z = F.normalize(self.projection_head(pooled), dim=1)
        local = F.normalize(self.local_projection_head(local_features), dim=1)
        whole = F.normalize(local.detach().view(len(maps[0]), -1, local.shape[1]).mean(1), dim=1)
        return z, self.prototypes(z), local, self.local_prototypes(local), self.l2g_prototypes(whole)


@torch.no_grad()
def sinkhorn(logits: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """The published form: the matrix itself is normalised, each sum an all-reduce of its own."""
    q = torch.exp(logits / epsilon).T
    prototypes, samples = q.shape[0], q.shape[1] * (dist.get_world_size() if dist.is_initialized() else 1)
    q = q / _reduced(q.sum())
    for _ in range(iterations):
        q = q / _reduced(q.sum(1, keepdim=True)) / prototypes
        q = q / q.sum(0, keepdim=True) / samples
    return (q * samples).T


def losses(
    z: Tensor, logits: Tensor, local: Tensor, cross: Tensor, prototypes: Tensor, images: int, permutations: Tensor,
    queue: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The total loss, pair by pair of views; a queue [2, L, D] whose last rows are filled joins, and is shifted."""
    views, temperature = len(z) // images, 0.1
    used = queue is not None and not bool(torch.all(queue[:, -1] == 0))  # waits for the device
    targets, whole = [], logits.new_zeros(())
    for i in range(2):
        with torch.no_grad():
            rows = logits[i * images : (i + 1) * images]
            if queue is not None:
                if used:
                    rows = torch.cat([queue[i] @ prototypes.T, rows])
                queue[i, images:] = queue[i, :-images].clone()
                queue[i, :images] = z[i * images : (i + 1) * images]
            targets.append(sinkhorn(rows)[-images:])
        part = logits.new_zeros(())
        for v in (v for v in range(views) if v != i):
            student = F.log_softmax(logits[v * images : (v + 1) * images] / temperature, dim=1)
            part = part - (targets[i] * student).sum(1).mean()
        whole = whole + part / (views - 1) / 2
    locally = logits.new_zeros(())
    for i, pair in enumerate(local.chunk(2)):
        target = sinkhorn(pair.detach())
        student = local.chunk(2)[1 - i].view(images, -1, local.shape[1])[:, permutations[i]].flatten(0, 1)
        locally = locally - (target * F.log_softmax(student / temperature, dim=1)).sum(1).mean() / 2
    crosswise = logits.new_zeros(())
    for i in range(2):
        for target in targets:
            student = F.log_softmax(cross.chunk(2)[1 - i] / temperature, dim=1)
            crosswise = crosswise - (target * student).sum(1).mean() / 4
    return (whole + locally + crosswise) / 3


class LARC:
    """SGD with momentum under LARC, tensor by tensor; both norms are read on the host."""

    def __init__(self, parameters: Sequence[nn.Parameter], weight_decay: float, trust: float = 1e-3) -> None:
        self.parameters, self.weight_decay, self.trust = list(parameters), weight_decay, trust
        self.momentum: dict[nn.Parameter, Tensor] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for p in self.parameters:
            if p.grad is None:
                continue
            p_norm, g_norm = torch.norm(p), torch.norm(p.grad)
            if p_norm != 0 and g_norm != 0:
                rate = self.trust * p_norm / (g_norm + p_norm * self.weight_decay + 1e-8)
                p.grad += self.weight_decay * p
                p.grad *= rate
            if p not in self.momentum:
                self.momentum[p] = p.grad.clone()
            else:
                self.momentum[p].mul_(0.9).add_(p.grad)
            p.add_(self.momentum[p], alpha=-lr)


class Step:
    """One training step, whose loss is read on the host."""

    def __init__(self, config: Config, model: Model) -> None:
        self.config, self.model = config, model
        self.optimizer = LARC(list(model.parameters()), config.optim.weight_decay, config.optim.trust)
        self.queue: Tensor | None = None
        self.dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(config.precision)

    def __call__(self, iteration: int, lr: float, crops: Sequence[Tensor], permutations: Tensor) -> float:
        model, images = self.model, len(crops[0])
        with torch.no_grad():
            for layer in (model.prototypes, model.local_prototypes, model.l2g_prototypes):
                layer.weight.copy_(F.normalize(layer.weight, dim=1))
        for p in model.parameters():
            p.grad = None
        with torch.autocast(crops[0].device.type, dtype=self.dtype, enabled=self.dtype is not None):
            z, logits, _, local, cross = model(crops)
        wide = [x if x.dtype == torch.float64 else x.float() for x in (z, logits, local, cross)]
        loss = losses(*wide, model.prototypes.weight, images, permutations, self.queue)
        loss.backward()
        if iteration < self.config.optim.freeze_iterations:
            for name, p in model.named_parameters():
                if "prototypes" in name:
                    p.grad = None
        self.optimizer.step(lr)
        return loss.item()


def _reduced(total: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


class _Summed(torch.autograd.Function):
    """The sum over ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        return _reduced(x.clone())

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # noqa: ANN401
        return _reduced(dy.clone())


def synchronised_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Batch norm over the rows [R, F, h, w] of all ranks as its definition reads; autograd has the way back."""
    values = x if x.dtype == torch.float64 else x.float()
    rows = x.numel() // x.shape[1] * dist.get_world_size()
    mean = _Summed.apply(values.sum((0, 2, 3), keepdim=True)) / rows
    variance = _Summed.apply((values - mean).square().sum((0, 2, 3), keepdim=True)) / rows
    normal = (values - mean) / torch.sqrt(variance + eps)
    return (normal * weight[:, None, None] + bias[:, None, None]).to(x.dtype)
