"""Trunks started in four ways, each fine-tuned on detection and segmentation, every step in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from golang import exits
from golang.config import Config
from golang.data.sets import open_train
from golang.disk import whole
from golang.errors import GolangError
from golang.method.model import build_model
from golang.processes.local import train_here
from golang.runfolder.evaluations import results_of
from golang.runfolder.files import read_json
from golang.runfolder.pinned import pinned
from golang.runfolder.results import RESULT
from tests.learning import rows
from tests.learning.recipe import demo

METHODS = {"GOLANG": "golang", "SwAV": "swav"}
RANDOM, LABELS = "random init", "supervised"
LABELLED_EPOCHS = 3
# Tried on the set of seed 5. Detection, frozen, AP50 beside an untrained trunk's, with training seeds 11, 12, 13: 11.5
# and 3.6, 9.3 and 4.4, 9.3 and 4.1; batches of 8 at .1: 7.9 and 3.5 (seed 11); rate .02: 10.8 and 5.7 (seed 12).
# Segmentation, tuned, mIoU: 32.4, 27.5, 30.1; 20.1 of 7,500 images, 19.2 with batches of 8.
DETECTED, SEGMENTED = 1600, 10_000  # images that are fine-tuned on
_BATCH = ("evaluation.epochs=1", "evaluation.batch_size=4")
DETECTION = ("detect", "evaluation.frozen=true", *_BATCH, "evaluation.lr=0.05", f"data.toy.train={DETECTED}")
SEGMENTATION = ("segment", *_BATCH, "evaluation.lr=0.1", f"data.toy.train={SEGMENTED}")


class Figures(NamedTuple):
    """In points."""

    boxes: float  # AP50
    masks: float  # AP50
    pixels: float | None  # mIoU; None where nothing was segmented


@dataclass(frozen=True)
class Start:
    """A trunk as `name` of the four leaves it with a training seed, in a folder that keeps what has been done."""

    name: str
    seed: int
    common: tuple[str, ...]  # settings of all
    folder: Path
    segments: bool

    @property
    def steps(self) -> int:
        return 2 + self.segments

    def measured(self, say: Callable[[str], None]) -> Figures:
        """Does what is left, and tells `say` what came of each step. Raises GolangError when a step fails, and
        KeyboardInterrupt when one was asked to stop."""
        ours = METHODS.get(self.name)
        config = demo([*self.common, f"method={ours or 'golang'}", f"seed={self.seed}", "evaluation=none"])
        run, file = self.folder / "run", self.folder / "trunk.pt"
        if ours:
            self._alone("pre-training", _trained, config, run)
        elif not file.exists():
            self._alone("pre-training", _written, config, file, self.name)
        say(f"{self.name}, seed {self.seed}: {'untrained' if self.name == RANDOM else 'trained'}")
        weights = run if ours else file
        found = self._fine_tuned(DETECTION, weights)
        boxes, masks = found["AP50"], found["mask"]["AP50"]
        say(f"{self.name}, seed {self.seed}: AP50 {boxes:.1f} of boxes, {masks:.1f} of masks")
        if not self.segments:
            return Figures(boxes, masks, None)
        pixels = self._fine_tuned(SEGMENTATION, weights)["mAP"]
        say(f"{self.name}, seed {self.seed}: mIoU {pixels:.1f}")
        return Figures(boxes, masks, pixels)

    def _fine_tuned(self, asked: Sequence[str], weights: Path) -> dict[str, Any]:
        name, *numbers = asked
        settings = [
            f"evaluation={name}",
            *numbers,
            f"evaluation.checkpoint='{weights}'",
            "data.workers=0",
        ]
        config = pinned(demo([*self.common, f"seed={self.seed}", *settings]))
        self._alone(name, _trained, config, self.folder / name)
        result = read_json(results_of(config, self.folder / name) / RESULT)
        assert result is not None
        return result

    def _alone(self, what: str, work: Callable[..., None], *arguments: object) -> None:
        """`work`, in a process that says what it has to say to a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{what}.log"
        process = multiprocessing.get_context("spawn").Process(target=_quietly, args=(log, work, *arguments))
        process.start()
        process.join()
        if process.exitcode in (exits.STOPPED, exits.INTERRUPTED):
            raise KeyboardInterrupt
        if process.exitcode:
            raise GolangError(f"{what} of {self.name}, seed {self.seed}, ended with {process.exitcode}; {log} says why")


def _quietly(log: Path, work: Callable[..., None], *arguments: object) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    try:
        work(*arguments)
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)


def _trained(config: Config, run_dir: Path) -> None:
    sys.exit(train_here(config, run_dir, processes=1))


def _written(config: Config, file: Path, name: str) -> None:
    """A trunk that no run of ours trains."""
    trunk: nn.Module = build_model(config).trunk
    if name == LABELS:
        images = open_train(config.data)
        assert images.labels is not None
        trunk = rows.trained_with_labels(config, rows.pixels_of(images), images.labels, LABELLED_EPOCHS)[0]
    whole.put(file, lambda to: torch.save(trunk.state_dict(), to))
