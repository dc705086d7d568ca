"""Weighted k-nearest-neighbour evaluation of features (Wu et al., arXiv 1805.01978), for several labels an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from golang.collectives import gather_rows
from golang.data.images import ImageSet
from golang.engine.session import Session
from golang.evaluation import result
from golang.evaluation.average_precision import IGNORE, average_precision
from golang.evaluation.features import Features, cut, labelled_features
from golang.evaluation.protocols import numbers as protocols
from golang.evaluation.result import Scored
from golang.method.trunk import Trunk

NEIGHBOURS = 20
TEMPERATURE = 0.07
BATCH = 1024  # images compared with all others at a time
Alive = Callable[[], object]


def knn(
    features: Features, device: torch.device, of: npt.NDArray[np.int64] | None = None, alive: Alive = lambda: None
) -> npt.NDArray[np.float64]:
    """Scores of the validation images [M, classes], or of the training images `of` by the others [n, classes]: the
    share of a class among an image's nearest training images by cosine, each weighted by exp(cosine / TEMPERATURE);
    neighbours whose label is 255 have no vote. In fp64, so that it does not depend on how images are batched. `alive`
    is called before each batch."""
    train, val = (
        F.normalize(torch.from_numpy(rows).to(device, torch.float64), dim=1) for rows in (features.train, features.val)
    )
    itself = None if of is None else torch.from_numpy(of).to(device)
    labels = torch.from_numpy(features.train_labels).to(device)
    positive, known = (labels == 1).double(), (labels != IGNORE).double()
    scores = []
    for number, part in enumerate((val if itself is None else train[itself]).split(BATCH)):
        alive()
        cosines = part @ train.T
        if itself is not None:
            cosines.scatter_(1, itself[number * BATCH :][: len(part), None], -torch.inf)
        cosines, nearest = cosines.topk(min(NEIGHBOURS, len(train)), dim=1)
        votes = (cosines / TEMPERATURE).exp()[..., None] * known[nearest]
        scores.append((votes * positive[nearest]).sum(1) / votes.sum(1).clamp_min(1e-300))
    found: npt.NDArray[np.float64] = torch.cat(scores).cpu().numpy()
    return found


def evaluate(trunk: Trunk, train: ImageSet, test: ImageSet, session: Session) -> dict[str, Any]:
    """Mean AP, in points, of `test` by its neighbours in `train`, and what `result.figures` adds. Every rank sees its
    part of both sets, and compares its part of `test`, and of `train`, with all of `train`. Raises as
    `labelled_features`, and Stopped."""
    rank, alive = session.rank, lambda: session.beat("comparing with the training images")
    (own,) = labelled_features([trunk], train, test, session.config.data, rank.device, session.ask, rank.world)

    def everyones(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(gather_rows(torch.from_numpy(rows).to(rank.device)).cpu())

    known = replace(own, train=everyones(own.train), train_labels=everyones(own.train_labels))
    scores, labels = everyones(knn(known, rank.device, alive=alive)), everyones(own.val_labels)
    found = average_precision(scores, labels)
    chosen = result.chosen_on(np.arange(len(known.train)), len(test.classes), protocols.SEED)
    part = chosen[cut(len(chosen), rank.world.rank, rank.world.size)]
    trained = Scored(everyones(knn(known, rank.device, part, alive)), known.train_labels[chosen])
    return {
        "protocol": {"name": "knn", "neighbours": NEIGHBOURS, "temperature": TEMPERATURE},
        "mAP": 100 * found.mean,
        **found.by_class(test.classes), **result.figures(trained, Scored(scores, labels), test.classes),
        "train": str(train.root), "test": str(test.root),
        "train_images": len(known.train), "test_images": len(labels),
    }  # fmt: skip
