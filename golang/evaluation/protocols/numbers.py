"""SS-PRL's protocols (arXiv 2208.14439), number by number: linear evaluation and semi-supervised training; and the
same on any labelled set.

Two habits of the published evaluation flatter. It reports the best test mAP of all epochs, and its semi-supervised mode
never updates the trunk. Here the last epoch's figure stands beside the best one, and a semi-supervised evaluation
trains the trunk unless its published form is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golang.config import Config
from golang.errors import ConfigError
from golang.evaluation.average_precision import IGNORE
from golang.randomness import Purpose, permutation
from golang.runfolder.evaluations import DATA

SEED = 777
CLIP = 10.0  # the largest norm of a gradient, of the trunk's and of the head's
MOMENTUM, DECAY = 0.9, 1e-6
WEIGHT_DEVIATION, BIAS = 0.01, 0.1  # of the head's first weights
TRAIN_SCALE = (0.08, 1.0)  # share of the image's area that a training crop covers
FLIP = 0.5
SIZE = 224  # pixels of a crop; test images are resized to 256 first


@dataclass(frozen=True)
class Protocol:
    """How one figure is measured. Rates are those of the first epoch."""

    name: str
    data: str  # the set it is measured on
    epochs: int
    batch_size: int
    head_lr: float
    trunk_lr: float = 0.0  # 0: the trunk is frozen
    milestones: tuple[int, ...] = ()  # epochs at whose start rates fall to a fifth; without, they follow a cosine to 0
    share: float = 1.0  # of the training images, drawn by SEED

    @property
    def tunes_trunk(self) -> bool:
        return self.trunk_lr > 0

    def rate(self, first: float, epoch: int) -> float:
        """A learning rate in `epoch`, counted from 0."""
        if self.milestones:
            return first * 0.2 ** sum(epoch >= at for at in self.milestones)
        return first * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("linear_coco", DATA["linear_coco"], epochs=100, batch_size=128, head_lr=0.1),
        Protocol("linear_voc", DATA["linear_voc"], epochs=100, batch_size=32, head_lr=0.03),
        Protocol("semisup_coco_1", DATA["semisup_coco_1"], 20, 32, 0.1, 0.001, milestones=(12, 16), share=0.01),
        Protocol("semisup_coco_10", DATA["semisup_coco_10"], 20, 32, 0.1, 0.001, milestones=(12, 16), share=0.1),
    )
}


def find(name: str, published: bool = False) -> Protocol:
    """The protocol of that name; with `published`, a semi-supervised one leaves the trunk as it is. Raises ConfigError
    for an unknown name."""
    if name not in PROTOCOLS:
        raise ConfigError(f"evaluation={name} is not one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    return replace(protocol, trunk_lr=0.0) if published else protocol


# What `linear` and `semisup` are but for the set, and the numbers that settings replace.
PATTERNS = {"linear": "linear_coco", "semisup": "semisup_coco_10"}


def asked(config: Config) -> Protocol:
    """The protocol that an evaluation's settings ask for: a published one, or its like on the set of `data`."""
    evaluation = config.evaluation
    (name,) = evaluation.protocol
    pattern = find(PATTERNS.get(name, name), evaluation.published)
    if name not in PATTERNS:
        return pattern
    epochs, rate = evaluation.epochs or pattern.epochs, evaluation.lr or pattern.head_lr
    return replace(
        pattern, name=name, data=config.data.name,
        epochs=epochs, batch_size=evaluation.batch_size or pattern.batch_size, head_lr=rate,
        trunk_lr=pattern.trunk_lr * (rate / pattern.head_lr),
        milestones=tuple(round(epochs * at / pattern.epochs) for at in pattern.milestones),
        share=evaluation.share if name == "semisup" else pattern.share,
    )  # fmt: skip


def subset(images: int, share: float) -> Tensor:
    """The training images that a protocol uses, sorted, int64 [at least 1]."""
    if share >= 1:
        return torch.arange(images)
    chosen = permutation(images, SEED, Purpose.SUBSET)[: max(1, round(share * images))]
    return torch.from_numpy(np.sort(chosen))


def build_head(channels: int, classes: int) -> nn.Linear:
    """The linear classifier before its first step."""
    head = nn.Linear(channels, classes)
    with torch.no_grad():
        head.weight.normal_(0, WEIGHT_DEVIATION, generator=torch.Generator().manual_seed(SEED))
        head.bias.fill_(BIAS)
    return head


def loss(logits: Tensor, labels: Tensor, batch: int) -> Tensor:
    """Binary cross-entropy of these rows of a batch of `batch` images, summed over classes and divided by the batch;
    labels [b, classes] of 255 are excluded."""
    known = labels != IGNORE
    target = (labels == 1).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, known.to(logits.dtype), reduction="sum") / batch
