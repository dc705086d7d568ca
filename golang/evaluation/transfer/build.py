"""The task that an evaluation's settings ask for."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch

from golang.config import Config
from golang.data.objects.sets import open_both, open_both_segments
from golang.evaluation.transfer.detection import Detection
from golang.evaluation.transfer.numbers import Protocol, asked
from golang.evaluation.transfer.segmentation import Segmentation
from golang.evaluation.transfer.tasks import Task
from golang.method.trunk import Trunk

log = logging.getLogger(__name__)


def build_task(config: Config, trunk: Trunk, trunk_name: str, dtype: torch.dtype) -> Task:
    """The network on `trunk`, and the images, that the evaluation of `config` fine-tunes and scores. Raises DataError
    where they cannot be used."""
    evaluation, data = config.evaluation, config.data
    (name,) = evaluation.protocol
    workers = data.workers
    if name.startswith("detect"):
        train, test = open_both(data)
        protocol = asked(evaluation, len(train), median_side(train.sizes))
        _say(protocol, len(train), len(test))
        return Detection(protocol, trunk, trunk_name, dtype, train, test, workers)
    maps, test_maps = open_both_segments(data)
    protocol = asked(evaluation, len(maps), median_side(maps.sizes))
    _say(protocol, len(maps), len(test_maps))
    return Segmentation(protocol, trunk, trunk_name, dtype, maps, test_maps, workers)


def median_side(sizes: npt.NDArray[np.int32]) -> int:
    """Of the images' short sides, in pixels."""
    return int(np.median(sizes.min(1)))


def _say(protocol: Protocol, train: int, test: int) -> None:
    trunk = "frozen" if protocol.frozen else "tuned"
    log.info(
        "%s: %d training and %d test images; %d steps of %d images, lr %g, short side %d, trunk %s",
        protocol.name, train, test, protocol.steps, protocol.batch_size, protocol.lr, protocol.side, trunk,
    )  # fmt: skip
