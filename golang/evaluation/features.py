"""What frozen trunks make of a set of images: average-pooled features, computed once and kept.

Images are seen as SS-PRL's linear evaluation sees its test images (arXiv 2208.14439): the shorter side resized to 256,
the middle 224 × 224 cut out, normalised as in training (red's deviation .228). Generated images smaller than that are
taken whole.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from golang.collectives import sum_over_ranks
from golang.config import Data
from golang.data.crops.device import normalise
from golang.data.images import REMEDY, ImageSet
from golang.data.loader import Loader, close, own_words
from golang.disk.whole import put
from golang.errors import DataError
from golang.runfolder import files
from golang.world import World

F = torchvision.transforms.functional

log = logging.getLogger(__name__)
RESIZE, CROP = 256, 224  # pixels
BATCH = 256  # images
ALONE = World()
Ask = Callable[[], object]  # called now and then in long work, which whatever it raises ends


@dataclass(frozen=True)
class Features:
    """Features of a training and a validation set, with the labels they are probed for."""

    train: npt.NDArray[Any]  # [N, C], float32 or float64
    train_labels: npt.NDArray[np.uint8]  # [N, classes] in {0, 1, 255}; 255 is ignored
    val: npt.NDArray[Any]  # [M, C]
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
    trunks: Sequence[nn.Module], images: ImageSet, device: torch.device, whole: bool, workers: int = 0,
    ask: Ask = lambda: None, world: World = ALONE,
) -> tuple[list[npt.NDArray[Any]], npt.NDArray[np.int64]]:  # fmt: skip
    """Features of every readable image, averaged over the positions of the trunk's map: float32 (float64 of a trunk in
    that) [n, C] a trunk, in the order of `images`, and the indices of those images, int64 [n].

    The trunks, on `device`, are in evaluation mode meanwhile. Raises DataError when more images are unreadable than a
    set may hold. `workers`, `ask` and `world` are those of `outputs`.
    """
    every = np.arange(len(images))
    networks = [functools.partial(pooled, trunk) for trunk in trunks]
    dtype = next(trunks[0].parameters()).dtype
    with evaluating(*trunks):
        found, kept = outputs(networks, images, every, device, dtype, whole, workers, ask, world)
    lost = len(every[cut(len(images), world.rank, world.size)]) - len(kept)
    if world.size > 1:
        lost = int(sum_over_ranks(torch.tensor([lost], device=device)))
    if lost:
        said = f"{lost} of {len(images)} images in {images.root} are unreadable"
        if lost > images.most_unreadable:
            raise DataError(f"{said}, too many to evaluate on; {REMEDY}")
        log.warning("%s and excluded from the evaluation; %s", said, REMEDY)
    return found, kept


def pooled(trunk: nn.Module, pixels: Tensor) -> Tensor:
    """A trunk's map of each image, averaged over its positions: [B, C]."""
    features: Tensor = trunk(pixels).mean((2, 3))
    return features


def outputs(
    networks: Sequence[Callable[[Tensor], Tensor]], images: ImageSet, chosen: npt.NDArray[np.int64],
    device: torch.device, dtype: torch.dtype, whole: bool, workers: int = 0, ask: Ask = lambda: None,
    world: World = ALONE,
) -> tuple[list[npt.NDArray[Any]], npt.NDArray[np.int64]]:  # fmt: skip
    """What networks make of the images `chosen` that are readable: float32 (float64 in `dtype` fp64) [n, …] each, and
    their indices, int64 [n].

    Args:
        networks: from pixels in `dtype` on `device`, [B, 3, h, w], to [B, …]; without gradients.
        workers: processes that decode; 0 decodes here.
        ask: called before each batch, by all ranks of `world` equally often.
        world: whose ranks all call; each gets its own share, the shares of ranks 0, 1, … one after the other are whole.
    """
    if len(chosen) < world.size:
        raise DataError(f"{images.root} holds {len(chosen)} images, fewer than the {world.size} ranks; start fewer")
    shares = [chosen[cut(len(chosen), rank, world.size)] for rank in range(world.size)]
    share = shares[world.rank]
    views = _Views(images, share, whole)
    loader: Loader[tuple[Tensor, Tensor]] = Loader(views, workers, batch_size=BATCH, pin_memory=device.type == "cuda")
    found: list[list[Tensor]] = [[] for _ in networks]
    readable: list[Tensor] = []
    batches = iter(loader)
    try:
        with torch.inference_mode():
            for _ in range(0, max(map(len, shares)), BATCH):
                ask()
                for batch, own in itertools.islice(batches, 1):
                    pixels = normalise(batch.to(device, non_blocking=True), dtype)
                    readable.append(own)
                    for network, pieces in zip(networks, found, strict=True):
                        rows = network(pixels)
                        pieces.append((rows if dtype == torch.float64 else rows.float()).cpu())
    except DataError as error:
        raise own_words(error) from None
    finally:
        close(batches)
    kept = torch.cat(readable).numpy()
    return [torch.cat(pieces).numpy()[kept] for pieces in found], share[kept]


def labelled_features(
    trunks: Sequence[nn.Module], train: ImageSet, val: ImageSet, data: Data, device: torch.device,
    ask: Ask = lambda: None, world: World = ALONE,
) -> list[Features]:  # fmt: skip
    """What `pooled_features` makes of the two labelled sets of `data`, a trunk each; small images need no workers."""
    whole = takes_whole(data)
    workers = 0 if whole else data.workers
    on_train, trained = pooled_features(trunks, train, device, whole, workers, ask, world)
    on_val, seen = pooled_features(trunks, val, device, whole, workers, ask, world)
    assert train.labels is not None and val.labels is not None
    labels = train.labels[trained], val.labels[seen]
    return [Features(a, labels[0], b, labels[1]) for a, b in zip(on_train, on_val, strict=True)]


def cut(total: int, rank: int, ranks: int) -> slice:
    """This rank's part of `total` things in a row: parts differ by one at most."""
    return slice(total * rank // ranks, total * (rank + 1) // ranks)


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
    files.make_private(path.parent)
    put(path, lambda file: np.savez(file, origin=np.array(origin), **vars(features)), durable=False)


def load(path: Path, origin: str) -> Features | None:
    """The features saved with the same `origin`; None if the file is missing, damaged or of another trunk."""
    try:
        with np.load(path) as stored:
            if str(stored["origin"]) != origin:
                return None
            return Features(**{field.name: stored[field.name] for field in fields(Features)})
    except Exception:  # a damaged archive raises nearly anything; features can always be computed anew
        return None


@dataclass(frozen=True)
class _Views(Dataset[tuple[Tensor, bool]]):
    images: ImageSet
    chosen: npt.NDArray[np.int64]
    whole: bool

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, row: int) -> tuple[Tensor, bool]:
        """The view of an image and whether it is its own: one that stands in for it keeps the batch in shape."""
        index = int(self.chosen[row])
        image, nearest = self.images.load_nearest(index)
        return view(image, self.whole), nearest == index
