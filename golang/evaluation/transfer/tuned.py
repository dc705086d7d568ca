"""A network that has been fine-tuned, out of a checkpoint of its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from golang.errors import CheckpointError
from golang.evaluation.transfer.detection import build_detector
from golang.evaluation.transfer.networks.detector import Detector
from golang.evaluation.transfer.networks.fcn import Segmenter
from golang.evaluation.transfer.networks.types import OWN, PUBLISHED, Pixels
from golang.evaluation.transfer.numbers import Protocol
from golang.evaluation.transfer.segmentation import build_segmenter
from golang.method.trunk import build_trunk
from golang.runfolder.checkpoints import find, is_sealed
from golang.weights import sealed


class Tuned(NamedTuple):
    """A network in evaluation mode, and how images are to be shown to it."""

    network: Detector | Segmenter
    protocol: Protocol
    classes: tuple[str, ...]  # a segmenter's begin with the background
    pixels: Pixels


def load_network(path: Path) -> Tuned:
    """The network of a checkpoint, or of the newest one in its evaluation's folder. Raises CheckpointError for any
    other file."""
    file = find(path)
    state = sealed.read(file) if is_sealed(file) else {}
    if not {"task", "network"} <= state.keys():
        raise CheckpointError(
            f"{file} is of no network for detection or segmentation; `golang evaluate detect CHECKPOINT …` tunes one"
        )
    task = state["task"]
    protocol, classes, trunk = Protocol(**task["protocol"]), tuple(task["classes"]), build_trunk(task["trunk"])
    network: Detector | Segmenter
    if protocol.network == "fcn":
        network = build_segmenter(protocol, trunk, len(classes))
    else:
        network = build_detector(protocol, trunk, len(classes), task["masks"])
    network.to(next(value.dtype for value in state["network"].values() if value.is_floating_point()))
    network.load_state_dict(state["network"])
    return Tuned(network.eval(), protocol, classes, PUBLISHED if protocol.published else OWN)
