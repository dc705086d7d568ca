"""The protocols of transfer, number by number, and their like on any set.

A `detect_coco`: Mask R-CNN with a feature pyramid, on COCO 2017, the 1x schedule (He et al., arXiv 1911.05722). B
`detect_voc`: Faster R-CNN on stage 4, VOC 2007 + 2012 → VOC 2007 (the same). C `segment_voc`: a dilated FCN, VOC 2012 +
SBD → VOC 2012 (Wang et al., arXiv 2011.09157). SS-PRL (arXiv 2208.14439) measures its trunks by all three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from golang.config import Evaluation
from golang.runfolder.evaluations import DATA

SEED = 777
MOMENTUM = 0.9
WARMUP_FROM = 1e-3  # share of the rate that the first step has
POWER = 0.9  # of the polynomial schedule
PRECISE = 200  # batches whose statistics stand in for the running ones of batch norm, at the end
SMALL = 256  # pixels of a short side; sets of smaller images are seen at their own size
LEAST_SIDE = 32

Network = Literal["fpn", "c4", "fcn"]


@dataclass(frozen=True)
class Protocol:
    """How one trunk is fine-tuned and measured. Sides are pixels of an image's short side."""

    name: str
    data: str  # the set it is measured on
    network: Network
    images: int  # training images that `steps` are meant for
    steps: int
    lr: float
    decay: float  # of weights
    norm_decay: float  # of batch norm's
    side: int  # at test; the trunk's input in segmentation
    longest: int  # pixels that a long side has at most
    sides: tuple[int, ...] = ()  # in training, one drawn an image; of a segmentation a crop is cut from another scale
    flip: float = 0.5  # chance
    scales: tuple[float, float] = (1.0, 1.0)  # of a segmentation's training image, around its size at test
    most: float = 1.0  # share of a crop's pixels that one class may take
    tries: int = 1  # crops, of which the last one is taken if all have more of one class
    brightness: float = 0.0  # levels up or down
    contrast: tuple[float, float] = (1.0, 1.0)  # factors
    saturation: tuple[float, float] = (1.0, 1.0)
    hue: float = 0.0  # degrees either way
    milestones: tuple[int, ...] = ()  # steps at which the rate falls to a tenth; without, polynomially to `final_lr`
    warmup: int = 0  # steps
    final_lr: float = 0.0
    batch_size: int = 16
    published: bool = False  # input and strides as SS-PRL's, whatever the trunk was trained on
    frozen: bool = False  # the trunk stays as it is

    @property
    def precise(self) -> int:
        """Batches that batch norm's last statistics are of, of a short training at most a quarter of its steps; a
        segmentation keeps the running ones."""
        return 0 if self.network == "fcn" else min(PRECISE, -(-self.steps // 4))

    def rate(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        if not self.milestones:
            left: float = (1 - step / self.steps) ** POWER
            return (self.lr - self.final_lr) * left + self.final_lr
        part = min(1.0, step / self.warmup) if self.warmup else 1.0
        warm = WARMUP_FROM + (1 - WARMUP_FROM) * part
        return self.lr * warm * 0.1 ** sum(step >= at for at in self.milestones)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "detect_coco", DATA["detect_coco"], "fpn", images=117_266, steps=90_000, lr=0.02, decay=1e-4, norm_decay=0,
            side=800, longest=1333, sides=(640, 672, 704, 736, 768, 800), milestones=(60_000, 80_000), warmup=1000,
        ),
        Protocol(
            "detect_voc", DATA["detect_voc"], "c4", images=16_551, steps=24_000, lr=0.02, decay=1e-4, norm_decay=0,
            side=800, longest=1333, sides=tuple(range(480, 801, 32)), milestones=(18_000, 22_000), warmup=100,
        ),
        Protocol(
            "segment_voc", DATA["segment_voc"], "fcn", images=10_582, steps=20_000, lr=0.01, decay=5e-4,
            norm_decay=5e-4, side=512, longest=2048, final_lr=1e-4, scales=(0.5, 2.0), most=0.75, tries=10,
            brightness=32, contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=36,
        ),
    )
}  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "detect_coco": {"published": True},
    "segment_voc": {"lr": 0.05},
}  # where SS-PRL's own runs differ
PATTERNS = {"detect": "detect_coco", "segment": "segment_voc"}  # what is measured on any set, and what it is like


def asked(evaluation: Evaluation, images: int, side: int) -> Protocol:
    """The protocol that an evaluation's settings ask for. Its like on any set of `images` training images has as many
    epochs as the published one, the rate in proportion to the batch, the milestones at the same parts of the steps, and
    a warm-up of a tenth of them at most. Images whose short side, `side` pixels in the median, is below SMALL are seen
    at their own size: all sides shrink in proportion, and a segmentation's training images keep their scale.
    """
    (name,) = evaluation.protocol
    pattern = PROTOCOLS[PATTERNS.get(name, name)]
    if evaluation.published:
        pattern = replace(pattern, **PUBLISHED.get(pattern.name, {}))
    if name not in PATTERNS:
        return pattern
    batch = min(evaluation.batch_size or pattern.batch_size, images)
    epochs = evaluation.epochs or pattern.steps * pattern.batch_size / pattern.images
    steps = max(1, round(epochs * images / batch))
    lr = evaluation.lr or pattern.lr * batch / pattern.batch_size
    scaled = replace(
        pattern, name=name, data="", images=images, steps=steps, batch_size=batch, lr=lr,
        final_lr=pattern.final_lr * lr / pattern.lr, frozen=evaluation.frozen,
        milestones=tuple(round(steps * at / pattern.steps) for at in pattern.milestones),
        warmup=min(pattern.warmup, steps // 10),
    )  # fmt: skip
    return scaled if side >= SMALL else at_side(scaled, max(side, LEAST_SIDE))


def at_side(protocol: Protocol, side: int) -> Protocol:
    """The protocol with its sides in proportion to `side` at test. A segmentation's images are not scaled: halved, a
    small one shows nothing."""
    part = side / protocol.side
    return replace(
        protocol, side=side, longest=round(protocol.longest * part),
        sides=tuple(sorted({round(one * part) for one in protocol.sides})), scales=(1.0, 1.0),
    )  # fmt: skip
