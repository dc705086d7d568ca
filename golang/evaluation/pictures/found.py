"""Pictures of what a fine-tuned network found, as its evaluation ends."""

from __future__ import annotations

import logging
from pathlib import Path

from golang.drawing import MissingMatplotlibError
from golang.evaluation.pictures import detections, segments
from golang.evaluation.transfer.detection import Detection
from golang.evaluation.transfer.segmentation import Segmentation
from golang.evaluation.transfer.tasks import Task

log = logging.getLogger(__name__)


def draw_found(task: Task, folder: Path) -> None:
    """Draws the worst and the best images of a task that has been scored to `folder`; without matplotlib, a line says
    so. Raises DataError for images that cannot be read."""
    try:
        written = list[Path]()
        if isinstance(task, Detection) and task.results is not None:
            written = detections.write(task.test, task.results, folder)
        elif isinstance(task, Segmentation) and task.points is not None:
            written = segments.write(task.test, task.points, task.map_of, folder)
        for path in written:
            log.info("picture: %s", path)
    except MissingMatplotlibError as error:
        log.info("no pictures: %s", error)
