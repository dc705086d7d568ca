"""The rows of the check: what a linear probe, or training with labels, gets from the same images in different ways."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from golang.config import Config
from golang.data.crops.device import normalise
from golang.data.images import ImageSet
from golang.data.sets import open_train, open_val
from golang.engine.session import Outcome
from golang.evaluation.average_precision import average_precision
from golang.evaluation.features import Features, evaluating, view
from golang.evaluation.probe.finished import ProbeResult, probe_run
from golang.evaluation.probe.regression import linear_probe
from golang.method.model import build_model
from golang.processes.train import train
from golang.randomness import Purpose, generator
from golang.runfolder.folder import RunFolder

BINS = 4  # a channel, of the joint colour histogram
FINE = 16  # of each channel's own
SUPERVISED_EPOCHS = 6
SUPERVISED_LR = 3e-3
SHIFT = 6  # pixels


@dataclasses.dataclass(frozen=True)
class Sets:
    """All images of a generated set, whole, in memory: a few tens of megabytes."""

    train: torch.Tensor  # uint8 [N, 3, s, s]
    val: torch.Tensor  # uint8 [M, 3, s, s]
    train_labels: npt.NDArray[np.uint8]
    val_labels: npt.NDArray[np.uint8]
    train_scenes: npt.NDArray[np.int64]  # [N]
    val_scenes: npt.NDArray[np.int64]

    @classmethod
    def read(cls, config: Config) -> Sets:
        train_set, val_set = open_train(config.data), open_val(config.data)
        assert train_set.labels is not None and val_set.labels is not None
        return cls(
            pixels_of(train_set),
            pixels_of(val_set),
            train_set.labels,
            val_set.labels,
            _scenes(train_set.root),
            _scenes(val_set.root),
        )


def pretrained(config: Config, run_dir: Path) -> ProbeResult:
    """Trains the run of `config`, or continues or reuses the one in `run_dir`, and evaluates it as the demo does.

    Raises KeyboardInterrupt when the training was asked to stop.
    """
    if train(config, run_dir) is Outcome.STOPPED:
        raise KeyboardInterrupt
    return probe_run(RunFolder(run_dir))


def histogram(sets: Sets, seed: int) -> float:
    """mAP of a probe on colours alone: each image's joint RGB histogram and those of its channels."""
    return _probed(sets, _histograms(sets.train), _histograms(sets.val), seed)


def scene(sets: Sets, seed: int) -> float:
    """mAP of a probe on the true scene alone."""
    count = int(sets.train_scenes.max()) + 1
    one_hot = np.eye(count, dtype=np.float32)
    return _probed(sets, one_hot[sets.train_scenes], one_hot[sets.val_scenes], seed)


def supervised(config: Config, sets: Sets) -> float:
    """mAP of the same trunk trained with all labels."""
    model = trained_with_labels(config, sets.train, sets.train_labels, SUPERVISED_EPOCHS)
    with evaluating(model), torch.inference_mode():
        logits = torch.cat([model(normalise(part, torch.float32)) for part in sets.val.split(256)])
    return 100 * average_precision(logits.numpy(), sets.val_labels).mean


def trained_with_labels(
    config: Config, images: torch.Tensor, image_labels: npt.NDArray[np.uint8], epochs: int
) -> nn.Sequential:
    """The run's trunk, the mean of its map, and a linear layer, trained on `images` uint8 [N, 3, s, s] and their labels
    [N, K]: AdamW, one cycle, shifted and flipped images."""
    trunk = build_model(config).trunk.to(memory_format=torch.channels_last)
    torch.manual_seed(config.seed)
    model = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(trunk.channels, len(image_labels[0])))
    labels, batch = torch.from_numpy(image_labels).float(), config.optim.batch_size
    steps = len(labels) // batch * epochs
    optimizer = torch.optim.AdamW(model.parameters(), SUPERVISED_LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, SUPERVISED_LR, steps)
    model.train()
    for step in range(steps):
        epoch, k = divmod(step, len(labels) // batch)
        if k == 0:
            order = generator(config.seed, Purpose.ORDER, epoch).permutation(len(labels))
        rows = order[k * batch : (k + 1) * batch]
        rng = generator(config.seed, Purpose.VIEW, step)
        pixels = normalise(_moved(images[rows], rng), torch.float32)
        loss = F.binary_cross_entropy_with_logits(model(pixels), labels[rows], reduction="sum") / batch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def _probed(sets: Sets, train_rows: npt.NDArray[np.float32], val_rows: npt.NDArray[np.float32], seed: int) -> float:
    probe = linear_probe(Features(train_rows, sets.train_labels, val_rows, sets.val_labels), seed)
    return 100 * probe.result.mean


def _moved(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Images shifted by up to SHIFT pixels, each its own way, half of them mirrored."""
    padded = F.pad(pixels.float(), (SHIFT,) * 4, mode="reflect").to(torch.uint8)
    size = pixels.shape[-1]
    moved = []
    for image, (y, x), flip in zip(
        padded, rng.integers(0, 2 * SHIFT + 1, (len(pixels), 2)), rng.random(len(pixels)), strict=True
    ):
        part = image[:, y : y + size, x : x + size]
        moved.append(part.flip(2) if flip < 0.5 else part)
    return torch.stack(moved)


def _histograms(pixels: torch.Tensor) -> npt.NDArray[np.float32]:
    """Shares of pixels, float32 [N, BINS³ + 3·FINE]."""
    rows = []
    for image in pixels.flatten(2).numpy():
        red, green, blue = image.astype(np.int64) * BINS // 256
        joint = np.bincount((red * BINS + green) * BINS + blue, minlength=BINS**3)
        own = [np.bincount(channel.astype(np.int64) * FINE // 256, minlength=FINE) for channel in image]
        rows.append(np.concatenate([joint, *own]) / image.shape[1])
    return np.array(rows, np.float32)


def pixels_of(images: ImageSet) -> torch.Tensor:
    """All of them, whole, uint8 [N, 3, s, s]."""
    return torch.stack([view(images.load(index), whole=True) for index in range(len(images))])


def _scenes(folder: Path) -> npt.NDArray[np.int64]:
    """The scene of each image, in the order of the annotation file, which the reader keeps."""
    document: dict[str, Any] = json.loads((folder.parent / "annotations" / f"instances_{folder.name}.json").read_text())
    return np.array([image["scene"] for image in document["images"]])
