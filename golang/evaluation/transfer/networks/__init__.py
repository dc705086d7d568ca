"""Detectors and segmenters on our trunks, from torchvision's parts.

They are Mask R-CNN with a feature pyramid (protocol A), Faster R-CNN on stage 3 (B) and FCN (C) as the literature's
figures are measured. Where torchvision's own models differ, a part here says so and why. Their tensors' names are
torchvision's.
"""

from golang.evaluation.transfer.networks.c4 import faster_rcnn_c4
from golang.evaluation.transfer.networks.detector import Detector, mask_rcnn
from golang.evaluation.transfer.networks.fcn import Segmenter, fcn
from golang.evaluation.transfer.networks.losses import over_ranks
from golang.evaluation.transfer.networks.types import (
    OWN,
    PUBLISHED,
    A,
    B,
    Detections,
    Key,
    Loss,
    Pixels,
    Target,
    Widths,
)

__all__ = [
    "OWN",
    "PUBLISHED",
    "A",
    "B",
    "Detections",
    "Detector",
    "Key",
    "Loss",
    "Pixels",
    "Segmenter",
    "Target",
    "Widths",
    "faster_rcnn_c4",
    "fcn",
    "mask_rcnn",
    "over_ranks",
]
