"""What goes into networks and comes out of them, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from golang.data.crops.device import MEAN, STD

Loss = tuple[Tensor, Tensor]  # a sum over this rank's terms, and the count that it is divided by once both are of all
Key = tuple[int, ...]  # (seed, epoch, image): what draws for an image are a function of
LEAST_ANCHOR = 4  # strides of its map; of less, few objects meet one well
TEST_SIDE = 800  # pixels of an image's short side at test, which the published sides of anchors are for


class Target(NamedTuple):
    """The objects of one image, none of them a crowd, in the pixels of the image as the network gets it."""

    boxes: Tensor  # float [n, 4]: x0, y0, x1, y1
    classes: Tensor  # int64 [n], from 0
    masks: Tensor | None = None  # bool or uint8 [n, h, w]


class Detections(NamedTuple):
    """What was found in one image, best first, in the pixels of the original; on the CPU."""

    boxes: Tensor  # float [n, 4]: x0, y0, x1, y1
    scores: Tensor  # float [n]
    classes: Tensor  # int64 [n], from 0
    masks: Tensor | None = None  # bool [n, H, W]


@dataclass(frozen=True)
class Widths:
    """How wide a detector is and how much it looks at. As it stands, protocol A's; pairs: in training, at test."""

    channels: int = 256  # of the pyramid's maps and of the heads' convolutions
    convolutions: int = 4  # of the box head and of the mask head
    features: int = 1024  # of a region, behind the box head
    anchors: tuple[float, ...] = (32, 64, 128, 256, 512)  # sides in pixels, one a map, or all on the only one
    before_nms: tuple[int, int] = (2000, 1000)  # proposals an image and map
    after_nms: tuple[int, int] = (1000, 1000)  # proposals an image
    anchors_drawn: int = 256  # an image, for the proposals' loss
    regions_drawn: int = 512  # an image, for the heads' losses
    detections: int = 100  # an image, at most

    def at(self, side: int) -> Widths:
        """With anchors for images of that short side at test, as large beside them."""
        return replace(self, anchors=tuple(anchor * side / TEST_SIDE for anchor in self.anchors))

    def narrow(self) -> Widths:
        """For trunks that are for trying things on small images: an eighth as wide, heads of one convolution, an eighth
        of the proposals and a sixteenth of the regions."""
        before, after = ((pair[0] // 8, pair[1] // 8) for pair in (self.before_nms, self.after_nms))
        return replace(
            self, channels=self.channels // 8, features=self.features // 8, before_nms=before, after_nms=after,
            regions_drawn=self.regions_drawn // 16, convolutions=1,
        )  # fmt: skip

    def on(self, strides: Sequence[int]) -> Widths:
        """With the larger anchors alone, for a trunk of as many maps of these strides, and none of a side that is short
        beside its map's: maps do not become finer where images become smaller."""
        pairs = zip(self.anchors[-len(strides) :], strides, strict=True)
        return replace(self, anchors=tuple(max(anchor, LEAST_ANCHOR * stride) for anchor, stride in pairs))


A = Widths()
B = Widths(before_nms=(12000, 6000), after_nms=(2000, 1000))


class Pixels(NamedTuple):
    """How a network wants its input: channels in that order, of levels 0 to 255 less `mean`, divided by `std`."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    def normalise(self, levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Of RGB levels uint8 [..., 3, h, w]."""
        x = levels.flip(-3) if self.bgr else levels
        mean, std = (torch.tensor(part, dtype=dtype, device=x.device)[:, None, None] for part in (self.mean, self.std))
        return (x.to(dtype) - mean) / std


def _levels(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = (255 * value for value in values)
    return red, green, blue


OWN = Pixels(_levels(MEAN), _levels(STD))  # what the trunk was trained on
PUBLISHED = Pixels((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), bgr=True)  # SS-PRL's, whatever the trunk was trained on
