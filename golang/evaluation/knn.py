"""Weighted k-nearest-neighbour evaluation of features (Wu et al., arXiv 1805.01978), for several labels an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from golang.evaluation.features import Features
from golang.evaluation.metrics import IGNORE

NEIGHBOURS = 20
TEMPERATURE = 0.07
BATCH = 1024  # images compared with all others at a time


def knn(
    features: Features,
    device: torch.device,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> npt.NDArray[np.float64]:
    """Scores of the validation images, [M, classes]: the share of a class among an image's nearest training images by
    cosine, each weighted by exp(cosine / temperature); neighbours whose label is 255 have no vote. In fp64, so that it
    does not depend on how images are batched."""
    train, val = (
        F.normalize(torch.from_numpy(rows).to(device, torch.float64), dim=1) for rows in (features.train, features.val)
    )
    labels = torch.from_numpy(features.train_labels).to(device)
    positive, known = (labels == 1).double(), (labels != IGNORE).double()
    scores = []
    for part in val.split(BATCH):
        cosines, nearest = (part @ train.T).topk(min(neighbours, len(train)), dim=1)
        votes = (cosines / temperature).exp()[..., None] * known[nearest]
        scores.append((votes * positive[nearest]).sum(1) / votes.sum(1).clamp_min(1e-300))
    found: npt.NDArray[np.float64] = torch.cat(scores).cpu().numpy()
    return found
