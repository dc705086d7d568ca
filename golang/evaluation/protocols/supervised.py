"""Runs a protocol on a trunk: trains a linear head (and the trunk, where the protocol says so) with labels.

It goes on after an interruption from the step it was saved at, to the same bits: batches and crops are functions of
the protocol's seed, whatever the number of ranks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from golang import randomness
from golang.collectives import gather_rows, sum_over_ranks
from golang.config import Augment
from golang.data import loader as loading
from golang.data.crops import pillow
from golang.data.crops.device import normalise
from golang.data.crops.draw import draw
from golang.data.images import ImageSet
from golang.data.loader import Loader
from golang.engine.rank import Rank
from golang.engine.session import Session
from golang.errors import CheckpointError, DataError
from golang.evaluation import features as feature
from golang.evaluation.average_precision import IGNORE, AveragePrecision, average_precision
from golang.evaluation.protocols import numbers as protocols
from golang.evaluation.protocols.numbers import Protocol
from golang.method.batchnorm import uneven
from golang.method.trunk import Trunk
from golang.randomness import Purpose, permutation

log = logging.getLogger(__name__)
_CROPS = Augment(flip_probability=protocols.FLIP, color_probability=0.0, gray_probability=0.0, blur_probability=0.0)


class Supervised:
    """One evaluation: a protocol, a trunk, a labelled training and test set.

    Several ranks do what one does. Each takes its part of every batch; gradients, and the statistics of batch norm
    where the trunk learns, are those of the whole batch; each scores its part of the test images.
    """

    def __init__(
        self,
        protocol: Protocol,
        trunk: Trunk,
        train: ImageSet,
        test: ImageSet,
        rank: Rank,
        workers: int = 0,
        whole: bool = False,
        origin: str = "",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`whole` takes small images as they are (`features.takes_whole`); `origin` says where the trunk is from."""
        if train.labels is None or test.labels is None:
            raise DataError(f"{protocol.name} needs two labelled sets: {train.root}, {test.root}")
        train.check_classes(test)
        self.protocol, self.train, self.test, self.rank = protocol, train, test, rank
        self.workers, self.whole, self.origin, self.dtype = workers, whole, origin, dtype
        self.fingerprint = self._identity(trunk)
        self.trunk = trunk.to(rank.device, dtype)
        self.head = protocols.build_head(trunk.channels, len(train.classes)).to(rank.device, dtype)
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
        self.steps = -(-len(self.subset) // protocol.batch_size)  # an epoch
        self.history: list[dict[str, Any]] = []  # of every epoch that has been scored
        self.done = 0  # steps
        self._test: tuple[Tensor, np.ndarray[Any, Any]] | None = None  # of this rank's test images: features, labels

    def run(self, session: Session) -> dict[str, Any]:
        """Trains and scores what is left; the result, on every rank. Raises DataError for images that cannot be read,
        and Stopped when asked to stop, after a save."""
        session.done, session.total = self.done, self.steps * self.protocol.epochs
        final: AveragePrecision | None = None
        try:
            for epoch in range(len(self.history), self.protocol.epochs):
                began = time.monotonic()
                self._train(epoch, session)
                final = self._average_precision(session)
                points = 100 * final.mean
                self.history.append({"epoch": epoch, "mAP": points, "seconds": round(time.monotonic() - began, 2)})
                session.facts["mAP"] = points
                log.info("%s: epoch %d of %d, mAP %.2f", self.protocol.name, epoch + 1, self.protocol.epochs, points)
            return self._result(final or self._average_precision(session))
        finally:
            # Also before an error of a person's: the work done is kept.
            session.save(self.state)

    def state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "done": self.done,
            "history": self.history,
            "parts": [part.state_dict() for part in self.parts],
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state. Raises CheckpointError if it is of another evaluation."""
        if state.get("fingerprint") != self.fingerprint:
            raise CheckpointError(
                "the checkpoint found is of an evaluation of other weights or images; name=OTHER starts afresh"
            )
        self.done, self.history = state["done"], state["history"]
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("%s goes on after step %d, epoch %d", self.protocol.name, self.done, len(self.history))

    def _train(self, epoch: int, session: Session) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.protocol.rate(group["first"], epoch)
        # A frozen trunk's batch norm stands still too.
        self.trunk.train(self.protocol.tunes_trunk)
        ranks = self.rank.world.size
        plan = self._plan(epoch)[self.done - epoch * self.steps :]
        batches = self._batches(plan, epoch)
        try:
            for whole, (pixels, labels) in zip(plan, batches, strict=True):
                images = normalise(pixels.to(self.rank.device, non_blocking=True), self.dtype)
                parts = [len(whole[feature.cut(len(whole), rank, ranks)]) for rank in range(ranks)]
                with contextlib.nullcontext() if self.protocol.tunes_trunk else torch.no_grad(), uneven(parts):
                    pooled = self.trunk(images).mean((2, 3))
                self.optimizer.zero_grad()
                truth = labels.to(self.rank.device, non_blocking=True)
                protocols.loss(self.head(pooled), truth, len(whole)).backward()
                self._add_gradients()
                for part in self.parts:
                    nn.utils.clip_grad_norm_(part.parameters(), protocols.CLIP)
                self.optimizer.step()
                self.done += 1
                if session.step(self.done):
                    session.save(self.state)
        except DataError as error:
            raise loading.own_words(error) from None
        finally:
            loading.close(batches)

    def _add_gradients(self) -> None:
        """Each rank's gradients become their sum, that of the whole batch."""
        if self.rank.world.size == 1:
            return
        gradients = [p.grad for part in self.parts for p in part.parameters() if p.grad is not None]
        flat = sum_over_ranks(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def _plan(self, epoch: int) -> list[list[int]]:
        """The images of each of the epoch's batches, over all ranks."""
        order = self.subset[permutation(len(self.subset), protocols.SEED, Purpose.ORDER, epoch)].tolist()
        size = self.protocol.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _batches(self, plan: list[list[int]], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's part of each batch."""
        world, size = self.rank.world, protocols.SIZE
        if self.whole:
            size = self.train.load(int(self.subset[0])).size[0]
        own: list[list[tuple[int, int] | None]] = []
        for whole in plan:
            part = whole[feature.cut(len(whole), world.rank, world.size)]
            own.append([(epoch, index) for index in part] or [None])
        loader: Loader[tuple[Tensor, Tensor]] = Loader(
            _Training(self.train, size),
            self.workers,
            batch_sampler=own,
            collate_fn=_collate,
            pin_memory=self.rank.device.type == "cuda",
        )
        return iter(loader)

    def _average_precision(self, session: Session) -> AveragePrecision:
        """Of the test images, over all ranks."""
        if self._test is None or self.protocol.tunes_trunk:
            self.trunk.eval()
            found, kept = feature.pooled_features(
                [self.trunk], self.test, self.rank.device, self.whole, self.workers, session.ask, self.rank.world
            )
            assert self.test.labels is not None
            self._test = torch.from_numpy(found[0]).to(self.rank.device), self.test.labels[kept]
        with torch.no_grad():
            logits = gather_rows(self.head(self._test[0]).double())
        labels = gather_rows(torch.from_numpy(self._test[1]).to(self.rank.device))
        session.ask()
        return average_precision(logits.cpu().numpy(), labels.cpu().numpy())

    def _result(self, final: AveragePrecision) -> dict[str, Any]:
        best = max(self.history, key=lambda line: line["mAP"])
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
                "trunk": "trained, batch norm by the statistics of each whole batch"
                if self.protocol.tunes_trunk
                else "frozen",
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
        facts = [asdict(self.protocol), len(self.train), len(self.test), str(self.dtype)]
        found = hashlib.sha256(json.dumps(facts).encode())
        for value in trunk.state_dict().values():
            found.update(value.cpu().numpy().tobytes())
        return found.hexdigest()


class _Training(Dataset[tuple[Tensor, Tensor]]):
    """A random crop of an image, uint8 [1, 3, s, s], a function of (epoch, index) and the protocol's seed, and its
    labels, uint8 [1, classes]; those of an unreadable image are all 255. At None, no image."""

    def __init__(self, images: ImageSet, size: int) -> None:
        self.images, self.size = images, size

    def __getitem__(self, position: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
        assert self.images.labels is not None
        labels = torch.from_numpy(self.images.labels)
        if position is None:
            return torch.zeros(0, 3, self.size, self.size, dtype=torch.uint8), labels[:0]
        epoch, index = position
        image, nearest = self.images.load_nearest(index)
        rng = randomness.generator(protocols.SEED, Purpose.VIEW, epoch, index)
        parameters = draw(rng, *image.size, protocols.TRAIN_SCALE, _CROPS)
        own = labels[index][None]
        pixels = pillow.apply(image, parameters, self.size)[None]
        return pixels, own if nearest == index else own.new_full(own.shape, IGNORE)


def _collate(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    pixels, labels = zip(*items, strict=True)
    return torch.cat(pixels), torch.cat(labels)
