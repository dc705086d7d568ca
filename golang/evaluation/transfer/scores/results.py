"""What a detector found in a set of images: flat tensors, gathered over ranks and kept in checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golang.collectives import gather_rows
from golang.errors import DataError
from golang.evaluation.transfer.networks.types import Detections
from golang.weights import sealed


class MissingScorerError(DataError):
    """There is nothing to score boxes and masks with."""


@dataclass(frozen=True, eq=False)
class Results:
    """n detections, those of an image together and images in the order of the set; tensors on the CPU.

    Masks are in COCO's compressed RLE, end to end: a bool mask of an image of 640 × 480 takes 300 kB, its code some
    hundred bytes.
    """

    images: Tensor  # int64 [n], positions in the set
    boxes: Tensor  # float32 [n, 4], x0, y0, x1, y1 in pixels of the upright image
    scores: Tensor  # float32 [n]
    classes: Tensor  # int64 [n], columns of the set's classes
    lengths: Tensor | None = None  # int64 [n], bytes of each mask's code; None without masks
    codes: Tensor | None = None  # uint8 [sum of lengths]

    @classmethod
    def none(cls, masked: bool) -> Results:
        """No detection; `masked`: of a detector that finds masks."""
        integers, bytes_ = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.uint8)
        masks = (integers, bytes_) if masked else (None, None)
        return cls(integers, torch.empty(0, 4), torch.empty(0), integers, *masks)

    @classmethod
    def of(cls, image: int, found: Detections) -> Results:
        """The detections in the image at position `image`. Raises MissingScorerError for masks that nothing codes."""
        count = len(found.scores)
        lengths = codes = None
        if found.masks is not None:
            pieces = encode(found.masks.cpu().numpy())
            lengths = torch.tensor([len(piece) for piece in pieces], dtype=torch.int64)
            codes = torch.from_numpy(np.array(bytearray(b"".join(pieces)), dtype=np.uint8))
        return cls(
            torch.full((count,), image), found.boxes.detach().cpu().float(), found.scores.detach().cpu().float(),
            found.classes.cpu().long(), lengths, codes,
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[Results], masked: bool) -> Results:
        """All of `parts` in the order of the set; those of one image stay in theirs."""
        every = [cls.none(masked), *parts]
        whole = cls(**{name: torch.cat([getattr(part, name) for part in every]) for name in _names(masked)})
        order = torch.argsort(whole.images, stable=True)
        if torch.equal(order, torch.arange(len(order))):
            return whole
        sorted_ = {name: getattr(whole, name)[order] for name in _names(masked) if name != "codes"}
        if whole.lengths is not None and whole.codes is not None:
            pieces = whole.codes.split(whole.lengths.tolist())
            sorted_["codes"] = torch.cat([pieces[row] for row in order.tolist()])
        return cls(**sorted_)

    def over_ranks(self, device: torch.device) -> Results:
        """Every rank's detections, on every rank; they pass through `device`. All ranks call it."""
        gathered = {name: gather_rows(one.to(device)).cpu() for name, one in self.state().items()}
        return Results.joined([Results(**gathered)], self.lengths is not None)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint: tensors alone. `Results(**state)` is the same again."""
        return {name: getattr(self, name) for name in _names(self.lengths is not None)}

    def save(self, path: Path) -> None:
        """Writes a sealed file, whole or not at all. Raises OSError."""
        sealed.write(path, self.state())

    @classmethod
    def load(cls, path: Path) -> Results:
        """What `save` has written. Raises CheckpointError if it is damaged."""
        return cls(**sealed.read(path))

    def __len__(self) -> int:
        return len(self.images)

    def of_image(self, image: int) -> slice:
        """The rows of the image at position `image`."""
        first, last = torch.searchsorted(self.images, torch.tensor([image, image + 1])).tolist()
        return slice(first, last)

    def coded(self, rows: slice = slice(None)) -> list[bytes]:
        """The code of each mask of `rows`."""
        assert self.lengths is not None and self.codes is not None
        spans = zip((self.lengths.cumsum(0) - self.lengths)[rows].tolist(), self.lengths[rows].tolist(), strict=True)
        codes = self.codes.numpy()
        return [codes[first : first + length].tobytes() for first, length in spans]

    def masks(self, image: int, height: int, width: int) -> npt.NDArray[np.bool_] | None:
        """The masks, bool [n, height, width], found in an image of that size; None of a detector without masks."""
        if self.lengths is None:
            return None
        codes = [{"size": [height, width], "counts": code} for code in self.coded(self.of_image(image))]
        found = library("mask").decode(codes) if codes else np.zeros((height, width, 0))
        return np.ascontiguousarray(found.transpose(2, 0, 1)).astype(np.bool_)


def encode(masks: npt.NDArray[np.bool_]) -> list[bytes]:
    """Masks [n, h, w] in COCO's compressed RLE. Raises MissingScorerError."""
    if not len(masks):
        return []
    columns = np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)
    return [coded["counts"] for coded in library("mask").encode(columns)]


def library(module: str) -> Any:  # noqa: ANN401 - it has no types
    """A module of faster-coco-eval's core. Raises MissingScorerError."""
    try:
        return importlib.import_module(f"faster_coco_eval.core.{module}")
    except ImportError as error:
        raise MissingScorerError(
            f"box and mask AP need faster-coco-eval ({error}): pip install 'faster-coco-eval>=1.8'"
        ) from error


def _names(masked: bool) -> list[str]:
    names = [field.name for field in fields(Results)]
    return names if masked else names[:4]
