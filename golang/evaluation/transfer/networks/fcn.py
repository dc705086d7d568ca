"""Protocol C's segmenter: a fully convolutional network on a dilated trunk (Long et al., 2015)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from golang.data.objects.segments import IGNORED
from golang.evaluation.transfer.networks import draws, losses, norm
from golang.evaluation.transfer.networks.draws import kept_channels
from golang.evaluation.transfer.networks.operations import upsample
from golang.evaluation.transfer.networks.stages import Stages, dilate
from golang.evaluation.transfer.networks.types import Key, Loss
from golang.method.batchnorm import BatchNorm
from golang.method.trunk import Trunk

CHANNELS, AUXILIARY_CHANNELS = 512, 256  # of the head behind stage 4, and of that behind stage 3
AUXILIARY_WEIGHT = 0.4  # of the latter's loss
DROPOUT = 0.1  # of channels before the last layer


class Head(nn.Module):
    """A stage's map [b, C, h, w] as logits [b, K, h, w]: 3×3 convolutions, with `joined` one more over their result
    beside their input, dropout, and a 1×1. torchvision's has one convolution and joins nothing."""

    def __init__(self, inputs: int, channels: int, classes: int, convolutions: int, joined: bool) -> None:
        super().__init__()
        sizes = [inputs] + [channels] * convolutions
        self.convs = nn.Sequential(*(_convolution(*pair) for pair in itertools.pairwise(sizes)))
        self.join = _convolution(inputs + channels, channels) if joined else None
        self.logits = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(self.logits.weight, std=0.01)
        assert self.logits.bias is not None
        nn.init.zeros_(self.logits.bias)

    def forward(self, x: Tensor, keys: Sequence[Key], number: int) -> Tensor:
        """In training, `keys` and the head's `number` say which channels are dropped."""
        y = self.convs(x)
        if self.join is not None:
            y = self.join(torch.cat([x, y], dim=1))
        if self.training:
            y = y * kept_channels(keys, number, DROPOUT, y)
        logits: Tensor = self.logits(y)
        return logits


def _convolution(inputs: int, channels: int) -> nn.Module:
    made: nn.Module = Conv2dNormActivation(inputs, channels, 3, norm_layer=BatchNorm)
    nn.init.kaiming_normal_(made[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[index]
    return made


class Segmenter(nn.Module):
    """A backbone of two maps and a head on each."""

    def __init__(self, backbone: Stages, classifier: Head, aux_classifier: Head) -> None:
        super().__init__()
        self.backbone, self.classifier, self.aux_classifier = backbone, classifier, aux_classifier

    def losses(self, images: Tensor, maps: Tensor, keys: Sequence[Key]) -> dict[str, Loss]:
        """Of this rank's part of a batch, perhaps none: [b, 3, h, w], normalised, the class of each pixel, int64
        [b, h, w] with 255 for none, and what the draws are functions of. Per pixel that has a class. Every rank calls
        it, with images of one size."""
        with norm.rows(len(images), images.device):
            third, fourth = self.backbone(images).values()
            both = self.classifier(fourth, keys, 0), self.aux_classifier(third, keys, 1)
        rows = maps.flatten()
        count = (rows != IGNORED).sum()
        found = {}
        for name, weight, logits in zip(("pixel", "auxiliary"), (1.0, AUXILIARY_WEIGHT), both, strict=True):
            # In rows, since torch's loss of maps is refused in deterministic mode on a GPU.
            every = upsample(logits, (maps.shape[1], maps.shape[2])).permute(0, 2, 3, 1).flatten(0, 2)
            found[name] = weight * losses.classes(every, rows, IGNORED), count
        return found

    @torch.no_grad()
    def segment(self, image: Tensor, original: tuple[int, int]) -> Tensor:
        """The class of each pixel of the `original` (height, width), int64 [H, W], from the whole image [3, h, w], in
        eval mode."""
        assert not self.training
        _, fourth = self.backbone(image[None]).values()
        logits = upsample(self.classifier(fourth, (), 0), (image.shape[-2], image.shape[-1]))
        found: Tensor = upsample(logits, original)[0].argmax(0)
        return found


def fcn(
    trunk: Trunk, classes: int, seed: int, channels: int = CHANNELS, auxiliary_channels: int = AUXILIARY_CHANNELS,
    frozen: bool = False,
) -> Segmenter:  # fmt: skip
    """Protocol C's network on `trunk`, which becomes a part of it; its other weights are drawn by `seed`. `classes`
    include the background. `frozen`: the trunk keeps its weights and statistics."""
    backbone = Stages(dilate(trunk), ["layer3", "layer4"], frozen)
    third, fourth = (stage.channels for stage in backbone.stages.values())
    with draws.weights(seed):
        classifier = Head(fourth, channels, classes, convolutions=2, joined=True)
        auxiliary = Head(third, auxiliary_channels, classes, convolutions=1, joined=False)
    return Segmenter(backbone, classifier, auxiliary)
