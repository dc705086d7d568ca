"""`evaluation.probe_every_epochs`: the linear probe while a run trains, to choose a checkpoint by.

It only looks: no random number of the run is drawn, no statistic moves, so a run with probes ends with the same bits as
one without. Its figures stand in evaluation/during.jsonl, a line a probe.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

from golang.config import Config
from golang.data.images import ImageSet
from golang.data.sets import open_labelled
from golang.engine.listeners import Listener
from golang.evaluation.features import labelled_features
from golang.evaluation.probe.regression import linear_probe
from golang.runfolder import files
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics

log = logging.getLogger(__name__)


class _NoTimeError(Exception):
    """The run is asked to stop, so the probe goes no further."""


class PeriodicProbe(Listener):
    """On rank 0, while the others wait."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        self.config, self.path = config, RunFolder(run_dir).probes_file
        self._images: tuple[ImageSet, ImageSet] | None = None  # read once

    def due(self, epochs: int) -> bool:
        every = self.config.evaluation.probe_every_epochs
        return every > 0 and epochs % every == 0

    def look(self, trunk: nn.Module, step: int, epochs: int, stopped: Callable[[], bool]) -> None:
        """Keeps the mAP of the trunk's features, in points; nothing if `stopped` says that there is no time.

        What has been measured before an interruption is not measured again: a resumed run has the same weights.
        """
        lines = {line["step"]: line for line in read_metrics(self.path)}
        if step in lines or not self.due(epochs):
            return
        began = time.monotonic()
        self._images = self._images or open_labelled(self.config.data)
        device = next(trunk.parameters()).device

        def ask() -> None:
            if stopped():
                raise _NoTimeError

        try:
            (found,) = labelled_features([trunk], *self._images, self.config.data, device, ask)
            probe = linear_probe(found, self.config.seed, device, ask=ask)
        except _NoTimeError:
            log.info("the probe after step %d is excluded: the run is asked to stop", step)
            return
        points, seconds = round(100 * probe.result.mean, 4), time.monotonic() - began
        line = {"step": step, "epoch": epochs, "mAP": points, "l2": probe.l2, "seconds": round(seconds, 2)}
        files.make_private(self.path.parent)
        files.write(self.path, "".join(json.dumps(one) + "\n" for one in (*lines.values(), line)))
        log.info("linear probe after step %d (epoch %d): mAP %.1f, in %.0f s", step, epochs, points, seconds)
