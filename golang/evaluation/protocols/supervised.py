"""Runs a protocol on a trunk: trains a linear head (and the trunk, where the protocol says so) with labels.

It goes on after an interruption from the step it was saved at, to the same bits: batches and crops are functions of
the protocol's seed, whatever the number of ranks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from golang import randomness
from golang.collectives import gather_rows, sum_gradients
from golang.config import Augment
from golang.data import loader as loading
from golang.data.crops import pillow
from golang.data.crops.device import normalise
from golang.data.crops.draw import draw
from golang.data.images import ImageSet
from golang.data.loader import Loader
from golang.engine.session import Session
from golang.errors import CheckpointError, DataError
from golang.evaluation import features as feature
from golang.evaluation import result
from golang.evaluation.average_precision import IGNORE, average_precision
from golang.evaluation.protocols import numbers as protocols
from golang.evaluation.protocols.numbers import Protocol
from golang.evaluation.result import Scored
from golang.evaluation.thresholds import Labels, Scores
from golang.method.batchnorm import uneven
from golang.method.trunk import Trunk
from golang.randomness import Purpose, permutation

log = logging.getLogger(__name__)
Rows = tuple[Scores, Labels]  # logits and labels of the same images
_CROPS = Augment(flip_probability=protocols.FLIP, color_probability=0.0, gray_probability=0.0, blur_probability=0.0)


class Supervised:
    """One evaluation: a protocol, a trunk, a labelled training and test set.

    Several ranks do what one does. Each takes its part of every batch; gradients, and the statistics of batch norm
    where the trunk learns, are those of the whole batch; each scores its part of the test images.
    """

    def __init__(
        self, protocol: Protocol, trunk: Trunk, dtype: torch.dtype, train: ImageSet, test: ImageSet, session: Session
    ) -> None:
        self.protocol, self.dtype, self.train, self.test = protocol, dtype, train, test
        self.session, self.rank, self.workers = session, session.rank, session.config.data.workers
        self.whole = feature.takes_whole(session.config.data)
        self.fingerprint = self._identity(trunk)
        self.trunk = trunk.to(self.rank.device, dtype)
        self.head = protocols.build_head(trunk.channels, len(train.classes)).to(self.rank.device, dtype)
        self.parts: list[nn.Module] = [self.head, self.trunk] if protocol.tunes_trunk else [self.head]
        rates = (protocol.head_lr, protocol.trunk_lr)[: len(self.parts)]
        pairs = zip(self.parts, rates, strict=True)
        groups = [{"params": list(part.parameters()), "lr": rate, "first": rate} for part, rate in pairs]
        self.optimizer = torch.optim.SGD(groups, momentum=protocols.MOMENTUM, weight_decay=protocols.DECAY)
        self.subset = protocols.subset(len(train), protocol.share)
        self.steps = -(-len(self.subset) // protocol.batch_size)  # an epoch
        self.history: list[dict[str, Any]] = []  # of every epoch that has been scored
        self._test: tuple[Tensor, np.ndarray[Any, Any]] | None = None  # of this rank's test images: features, labels

    def run(self) -> dict[str, Any]:
        """Trains and scores what is left; the result, on every rank. Raises DataError for images that cannot be read,
        and Stopped when asked to stop, after a save."""
        session = self.session
        session.total = self.steps * self.protocol.epochs
        logits: Rows | None = None
        try:
            for epoch in range(len(self.history), self.protocol.epochs):
                began = time.monotonic()
                self._train(epoch)
                logits = self._test_logits()
                points = 100 * average_precision(*logits).mean
                self.history.append({"epoch": epoch, "mAP": points, "seconds": round(time.monotonic() - began, 2)})
                session.facts["mAP"] = points
                log.info("%s: epoch %d of %d, mAP %.2f", self.protocol.name, epoch + 1, self.protocol.epochs, points)
            return self._result(*(logits or self._test_logits()))
        finally:
            # Also before an error of a person's: the work done is kept.
            session.save(self.state)

    def state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint, "done": self.session.done, "history": self.history,
            "parts": [part.state_dict() for part in self.parts], "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state. Raises CheckpointError if it is of another evaluation."""
        if state.get("fingerprint") != self.fingerprint:
            found = "the checkpoint found is of an evaluation of other weights or images"
            raise CheckpointError(f"{found}; name=OTHER starts afresh")
        self.session.done, self.history = state["done"], state["history"]
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("%s goes on after step %d, epoch %d", self.protocol.name, state["done"], len(self.history))

    def _train(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.protocol.rate(group["first"], epoch)
        # A frozen trunk's batch norm stands still too.
        self.trunk.train(self.protocol.tunes_trunk)
        ranks = self.rank.world.size
        plan = self._plan(epoch)[self.session.done - epoch * self.steps :]
        batches = self._batches(plan, epoch)
        try:
            for whole, (pixels, labels) in zip(plan, batches, strict=True):
                images = normalise(pixels.to(self.rank.device, non_blocking=True), self.dtype)
                parts = [len(whole[feature.cut(len(whole), rank, ranks)]) for rank in range(ranks)]
                with torch.set_grad_enabled(self.protocol.tunes_trunk), uneven(parts):
                    pooled = self.trunk(images).mean((2, 3))
                self.optimizer.zero_grad()
                truth = labels.to(self.rank.device, non_blocking=True)
                protocols.loss(self.head(pooled), truth, len(whole)).backward()
                sum_gradients(p for part in self.parts for p in part.parameters())
                for part in self.parts:
                    nn.utils.clip_grad_norm_(part.parameters(), protocols.CLIP)
                self.optimizer.step()
                if self.session.step(self.session.done + 1):
                    self.session.save(self.state)
        except DataError as error:
            raise loading.own_words(error) from None
        finally:
            loading.close(batches)

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
        parts = [whole[feature.cut(len(whole), world.rank, world.size)] for whole in plan]
        batches, pinned = _Batches(self.train, size, epoch, parts), self.rank.device.type == "cuda"
        return iter(Loader(batches, self.workers, batch_size=None, pin_memory=pinned))

    def _test_logits(self) -> Rows:
        """Of the test images, over all ranks, with their labels."""
        if self._test is None or self.protocol.tunes_trunk:
            self.trunk.eval()
            found, kept = feature.pooled_features(
                [self.trunk], self.test, self.rank.device, self.whole, self.workers, self.session.ask, self.rank.world
            )
            assert self.test.labels is not None
            self._test = torch.from_numpy(found[0]).to(self.rank.device), self.test.labels[kept]
        with torch.no_grad():
            logits = gather_rows(self.head(self._test[0]).double())
        labels = gather_rows(torch.from_numpy(self._test[1]).to(self.rank.device))
        self.session.ask()
        return logits.cpu().numpy(), labels.cpu().numpy()

    def _training_logits(self) -> Rows:
        """Of the training images that thresholds are chosen on, seen as test images are, with their labels: one pass
        more, of which the logits alone are kept. Images that cannot be read are excluded."""
        began = time.monotonic()
        assert self.train.labels is not None
        chosen = result.chosen_on(self.subset.numpy(), len(self.train.classes), protocols.SEED)
        world = self.rank.world if len(chosen) >= self.rank.world.size else feature.ALONE
        with feature.evaluating(self.trunk):
            (found,), kept = feature.outputs(
                [lambda pixels: self.head(feature.pooled(self.trunk, pixels))], self.train, chosen, self.rank.device,
                self.dtype, self.whole, self.workers, self.session.ask, world,
            )  # fmt: skip
        logits, labels = torch.from_numpy(found).double(), torch.from_numpy(self.train.labels[kept])
        if world.size > 1:
            logits, labels = (gather_rows(rows.to(self.rank.device)).cpu() for rows in (logits, labels))
        log.info("thresholds are chosen on %d training images, seen in %.0f s", len(logits), time.monotonic() - began)
        return logits.numpy(), labels.numpy()

    def _result(self, logits: Scores, labels: Labels) -> dict[str, Any]:
        final = average_precision(logits, labels)
        trained_on = Scored.of(*self._training_logits())
        best = max(self.history, key=lambda line: line["mAP"])
        trained = "trained, batch norm by the statistics of each whole batch"
        return {
            "protocol": asdict(self.protocol), "seed": protocols.SEED,
            "mAP": self.history[-1]["mAP"], "mAP_best": best["mAP"],
            "labelled": {
                "mAP": "after the last epoch (honest)",
                "mAP_best": f"best of all epochs on the test images, here {best['epoch'] + 1} (as published)",
                "trunk": trained if self.protocol.tunes_trunk else "frozen",
            },
            **final.by_class(self.test.classes),
            **result.figures(trained_on, Scored.of(logits, labels), self.test.classes),
            "train": str(self.train.root), "test": str(self.test.root),
            "train_images": len(self.subset), "test_images": len(self.test), "history": self.history,
        }  # fmt: skip

    def _identity(self, trunk: nn.Module) -> str:
        """Of what the result depends on: protocol, weights and numbers of images."""
        facts = [asdict(self.protocol), len(self.train), len(self.test), str(self.dtype)]
        found = hashlib.sha256(json.dumps(facts).encode())
        for value in trunk.state_dict().values():
            found.update(value.cpu().numpy().tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """Random crops of the images of each part, uint8 [n, 3, s, s], a function of epoch, image and the protocol's seed,
    and their labels, uint8 [n, classes]; those of an unreadable image are all 255."""

    images: ImageSet
    size: int
    epoch: int
    parts: list[list[int]]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        part = self.parts[step]
        assert self.images.labels is not None
        labels = torch.from_numpy(self.images.labels[part])
        pixels = torch.empty(len(part), 3, self.size, self.size, dtype=torch.uint8)
        for row, index in enumerate(part):
            image, nearest = self.images.load_nearest(index)
            rng = randomness.generator(protocols.SEED, Purpose.VIEW, self.epoch, index)
            parameters = draw(rng, *image.size, protocols.TRAIN_SCALE, _CROPS)
            pixels[row] = pillow.apply(image, parameters, self.size)
            if nearest != index:
                labels[row] = IGNORE
        return pixels, labels
