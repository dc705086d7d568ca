"""Runs a protocol on a trunk: trains a linear head (and the trunk, where the protocol says so) with labels.

It goes on after an interruption from the last whole epoch, to the same bits: images, crops and the order of both are
functions of the protocol's seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from golang import randomness
from golang.config import Augment
from golang.data import augment
from golang.data.augment import normalise
from golang.data.images import ImageSet
from golang.data.loader import worker_init_fn
from golang.engine import checkpoint
from golang.engine.runfolder import write_atomically
from golang.errors import CheckpointError, DataError
from golang.evaluation import features as feature
from golang.evaluation import protocols
from golang.evaluation.metrics import IGNORE, average_precision
from golang.evaluation.protocols import Protocol
from golang.method.trunk import Trunk
from golang.randomness import Purpose, permutation

log = logging.getLogger(__name__)
_CROPS = Augment(flip_probability=protocols.FLIP, color_probability=0.0, gray_probability=0.0, blur_probability=0.0)


class Supervised:
    """One evaluation: a protocol, a trunk, a labelled training and test set, and the folder of its results."""

    def __init__(
        self,
        protocol: Protocol,
        trunk: Trunk,
        train: ImageSet,
        test: ImageSet,
        folder: Path,
        device: torch.device,
        workers: int = 0,
        whole: bool = False,
        origin: str = "",
    ) -> None:
        """`whole` takes small images as they are (`features.takes_whole`); `origin` says where the trunk is from."""
        if train.labels is None or test.labels is None or train.classes != test.classes:
            raise DataError(f"{protocol.name} needs two labelled sets of the same classes: {train.root}, {test.root}")
        self.protocol, self.train, self.test, self.folder, self.device = protocol, train, test, folder, device
        self.workers, self.whole, self.origin = workers, whole, origin
        self.trunk = trunk.to(device, torch.float32)
        self.head = protocols.build_head(trunk.channels, len(train.classes)).to(device)
        self.parts: list[nn.Module] = [self.head, self.trunk] if protocol.tunes_trunk else [self.head]
        rates = [protocol.head_lr, protocol.trunk_lr]
        self.optimizer = torch.optim.SGD(
            [
                {"params": list(part.parameters()), "lr": rate, "first": rate}
                for part, rate in zip(self.parts, rates, strict=False)
            ],
            lr=protocol.head_lr,
            momentum=protocols.MOMENTUM,
            weight_decay=protocols.DECAY,
        )
        self.subset = protocols.subset(len(train), protocol.share)
        self.history: list[dict[str, Any]] = []  # of every epoch
        self._test: tuple[Tensor, np.ndarray[Any, Any]] | None = None
        self._fingerprint = self._identity(trunk)

    def run(self) -> dict[str, Any]:
        """Trains what is left, writes result.json and subset.json, and returns the result. Raises DataError for images
        that cannot be read, CheckpointError if the folder holds another evaluation."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [self.train.path(i).name for i in self.subset.tolist()]
        write_atomically(self.folder / "subset.json", json.dumps({"seed": protocols.SEED, "images": names}))
        self._resume()
        for epoch in range(len(self.history), self.protocol.epochs):
            began = time.monotonic()
            self._train(epoch)
            points = self._score()
            self.history.append({"epoch": epoch, "mAP": points, "seconds": round(time.monotonic() - began, 2)})
            log.info("%s: epoch %d of %d, mAP %.2f", self.protocol.name, epoch + 1, self.protocol.epochs, points)
            checkpoint.write(self.folder / "state.pt", checkpoint.snapshot(self._state()))
        result = self._result()
        write_atomically(self.folder / "result.json", json.dumps(result, indent=1) + "\n")
        return result

    def _train(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.protocol.rate(group["first"], epoch)
        # A frozen trunk's batch norm stands still too.
        self.trunk.train(self.protocol.tunes_trunk)
        for pixels, labels in self._batches(epoch):
            images = normalise(pixels.to(self.device, non_blocking=True), torch.float32)
            with contextlib.nullcontext() if self.protocol.tunes_trunk else torch.no_grad():
                pooled = self.trunk(images).mean((2, 3))
            self.optimizer.zero_grad()
            protocols.loss(self.head(pooled), labels.to(self.device)).backward()
            for part in self.parts:
                nn.utils.clip_grad_norm_(part.parameters(), protocols.CLIP)
            self.optimizer.step()

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.subset[permutation(len(self.subset), protocols.SEED, Purpose.ORDER, epoch)].tolist()
        size = self.protocol.batch_size
        batches = [[(epoch, i) for i in order[start : start + size]] for start in range(0, len(order), size)]
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            _Training(self.train, self.train.load(order[0]).size[0] if self.whole else protocols.SIZE),
            batch_sampler=batches,
            num_workers=self.workers,
            worker_init_fn=worker_init_fn if self.workers else None,
            generator=torch.Generator(),
        )
        yield from loader

    @torch.no_grad()
    def _score(self) -> float:
        """mAP of the test images in points."""
        logits, labels = self._logits()
        return 100 * average_precision(logits, labels).mean

    def _logits(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        if self._test is None or self.protocol.tunes_trunk:
            self.trunk.eval()
            found, kept = feature.pooled_features([self.trunk], self.test, self.device, self.whole, self.workers)
            assert self.test.labels is not None
            self._test = torch.from_numpy(found[0]).to(self.device), self.test.labels[kept]
        with torch.no_grad():
            return self.head(self._test[0]).double().cpu().numpy(), self._test[1]

    def _result(self) -> dict[str, Any]:
        best = max(self.history, key=lambda line: line["mAP"])
        final = average_precision(*self._logits())
        per_class = (100 * final.per_class).round(4).tolist()
        return {
            "protocol": asdict(self.protocol),
            "seed": protocols.SEED,
            "checkpoint": self.origin,
            "mAP": self.history[-1]["mAP"],
            "mAP_best": best["mAP"],
            "labelled": {
                "mAP": "after the last epoch (honest)",
                "mAP_best": f"best of all epochs on the test images, here {best['epoch'] + 1} (as published)",
                "trunk": "trained" if self.protocol.tunes_trunk else "frozen",
            },
            "per_class": dict(zip(self.test.classes, per_class, strict=True)),
            "classes_without_positives": [self.test.classes[c] for c in final.empty],
            "train": str(self.train.root),
            "test": str(self.test.root),
            "train_images": len(self.subset),
            "test_images": len(self.test),
            "history": self.history,
        }

    def _identity(self, trunk: nn.Module) -> str:
        """Of what the result depends on: protocol, weights and numbers of images."""
        found = hashlib.sha256(json.dumps([asdict(self.protocol), len(self.train), len(self.test)]).encode())
        for value in trunk.state_dict().values():
            found.update(value.cpu().numpy().tobytes())
        return found.hexdigest()

    def _state(self) -> dict[str, Any]:
        return {
            "fingerprint": self._fingerprint,
            "history": self.history,
            "parts": [part.state_dict() for part in self.parts],
            "optimizer": self.optimizer.state_dict(),
        }

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        try:
            state = checkpoint.read(path)
        except CheckpointError as error:
            log.warning("%s; this evaluation starts anew", error)
            return
        if state["fingerprint"] != self._fingerprint:
            raise CheckpointError(
                f"{self.folder} holds an evaluation of other weights or images; choose another folder"
            )
        self.history = state["history"]
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("%s goes on after epoch %d", self.protocol.name, len(self.history))


class _Training(Dataset[tuple[Tensor, Tensor]]):
    """A random crop of an image, uint8 [3, s, s], a function of (epoch, index) and the protocol's seed, and its labels,
    uint8 [classes]; those of an unreadable image are all 255."""

    def __init__(self, images: ImageSet, size: int) -> None:
        self.images, self.size = images, size

    def __getitem__(self, position: Sequence[int]) -> tuple[Tensor, Tensor]:
        epoch, index = position
        image, nearest = self.images.load_nearest(index)
        rng = randomness.generator(protocols.SEED, Purpose.VIEW, epoch, index)
        parameters = augment.draw(rng, *image.size, self.size, protocols.TRAIN_SCALE, _CROPS)
        assert self.images.labels is not None
        labels = torch.from_numpy(self.images.labels[index])
        return augment.apply(image, parameters, self.size), labels if nearest == index else labels.new_full(
            labels.shape, IGNORE
        )
