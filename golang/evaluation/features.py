"""What frozen trunks make of a set of images: average-pooled features, computed once and kept.

Images are seen as SS-PRL's linear evaluation sees its test images (arXiv 2208.14439): the shorter side resized to 256,
the middle 224 × 224 cut out, normalised as in training (red's deviation .228). Generated images smaller than that are
taken whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from golang.compat import torchvision
from golang.config import Data
from golang.data.augment import normalise
from golang.data.images import REMEDY, ImageSet
from golang.data.loader import worker_init_fn
from golang.errors import DataError

F = torchvision.transforms.functional

log = logging.getLogger(__name__)
RESIZE, CROP = 256, 224  # pixels
BATCH = 256  # images


class Interruption(Exception):  # noqa: N818 - no error
    """Features were not wanted any more."""


@dataclass(frozen=True)
class Features:
    """Features of a training and a validation set, with the labels they are probed for."""

    train: npt.NDArray[np.float32]  # [N, C]
    train_labels: npt.NDArray[np.uint8]  # [N, classes] in {0, 1, 255}; 255 is ignored
    val: npt.NDArray[np.float32]  # [M, C]
    val_labels: npt.NDArray[np.uint8]  # [M, classes]


def takes_whole(data: Data) -> bool:
    """Whether images are seen as they are: the generated ones, where they are smaller than the usual crop."""
    return data.name == "toy" and data.toy.size < CROP


def view(image: Image.Image, whole: bool) -> Tensor:
    """What an evaluation sees of an RGB image: uint8 [3, 224, 224], or [3, height, width] of the `whole` image."""
    if not whole:
        resized = F.resize(image, [RESIZE], F.InterpolationMode.BILINEAR, antialias=True)
        image = F.center_crop(resized, [CROP, CROP])
    pixels: Tensor = F.pil_to_tensor(image)
    return pixels


def pooled_features(
    trunks: Sequence[nn.Module],
    images: ImageSet,
    device: torch.device,
    whole: bool,
    workers: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """Features of every readable image, averaged over the positions of the trunk's map: float32 [n, C] a trunk, in the
    order of `images`, and the indices of those images, int64 [n]. Images are decoded once for all trunks.

    The trunks, on `device`, are in evaluation mode meanwhile (the running statistics of batch norm are used and stay
    as they are). Raises DataError when more images are unreadable than a set may hold, and Interruption as soon as
    `stopped` says so.

    Args:
        workers: processes that decode; 0 decodes here.
    """
    loader: DataLoader[tuple[Tensor, bool]] = DataLoader(
        _Views(images, whole),
        batch_size=BATCH,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=worker_init_fn if workers else None,
        generator=torch.Generator(),  # what torch draws for its workers is not from the run's stream
    )
    dtype = next(trunks[0].parameters()).dtype
    found: list[list[Tensor]] = [[] for _ in trunks]
    readable: list[Tensor] = []
    with evaluating(*trunks), torch.inference_mode():
        for batch, own in loader:
            if stopped():
                raise Interruption
            pixels = normalise(batch.to(device, non_blocking=True), dtype)
            readable.append(own)
            for trunk, pieces in zip(trunks, found, strict=True):
                pieces.append(trunk(pixels).mean((2, 3)).float().cpu())
    kept = torch.cat(readable).numpy()
    if lost := len(images) - int(kept.sum()):
        said = f"{lost} of {len(images)} images in {images.root} are unreadable"
        if lost > images.most_unreadable:
            raise DataError(f"{said}, too many to evaluate on; {REMEDY}")
        log.warning("%s and left out of the evaluation; %s", said, REMEDY)
    return [torch.cat(pieces).numpy()[kept] for pieces in found], np.flatnonzero(kept)


@contextlib.contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Puts modules into evaluation mode while entered."""
    before = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.train(training)


def save(path: Path, features: Features, origin: str) -> None:
    """Writes features to one .npz file, whole or not at all; `origin` says which trunk they are of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        np.savez(
            temporary,
            origin=np.array(origin),
            train=features.train,
            train_labels=features.train_labels,
            val=features.val,
            val_labels=features.val_labels,
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, origin: str) -> Features | None:
    """The features saved with the same `origin`; None if the file is missing, damaged or of another trunk."""
    try:
        with np.load(path) as stored:
            if str(stored["origin"]) != origin:
                return None
            return Features(stored["train"], stored["train_labels"], stored["val"], stored["val_labels"])
    except Exception:  # a damaged archive raises nearly anything; features can always be computed anew
        return None


class _Views(Dataset[tuple[Tensor, bool]]):
    def __init__(self, images: ImageSet, whole: bool) -> None:
        self.images = images
        self.whole = whole

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, bool]:
        """The view of an image and whether it is its own: one that stands in for it keeps the batch in shape."""
        image, nearest = self.images.load_nearest(index)
        return view(image, self.whole), nearest == index
