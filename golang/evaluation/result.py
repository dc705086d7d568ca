"""What every evaluation says beside its mAP, class by class: in result.json, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from golang import tables
from golang.evaluation import thresholds
from golang.evaluation.thresholds import Labels, Scores
from golang.randomness import Purpose, permutation

MOST = 2**26  # scores of training images that thresholds are chosen on
SHOWN = 5  # best classes in a table, and as many of the worst; all, where they are hardly more
IOU = "mIoU"  # what the mAP of a segmentation is
SCORES = "scores in 0–1, chosen on {} training images; who reaches it has the class"


@dataclass(frozen=True)
class Scored:
    """Images with a score in 0–1 for every class."""

    scores: Scores  # [N, C]
    labels: Labels  # [N, C] in {0, 1, 255}

    @classmethod
    def of(cls, logits: npt.NDArray[Any], labels: Labels) -> Scored:
        """Scores are the logits' probabilities."""
        return cls(torch.from_numpy(logits).double().sigmoid().numpy(), labels)


def chosen_on(images: npt.NDArray[np.int64], classes: int, seed: int) -> npt.NDArray[np.int64]:
    """The training images [n] that thresholds are chosen on: all, or as many as give MOST scores, drawn by `seed`."""
    most = max(1, MOST // classes)
    if len(images) <= most:
        return images
    return np.sort(images[permutation(len(images), seed, Purpose.SUBSET, 1)[:most]])


def figures(train: Scored, test: Scored, classes: Sequence[str]) -> dict[str, Any]:
    """The threshold metrics of a result, in points: F1 of `test` at the thresholds that suit `train` best, precision at
    k, and accuracy where every image of both has one label."""
    chosen = thresholds.choose(train.scores, train.labels)
    found = thresholds.f1(test.scores, test.labels, chosen)
    precisions = thresholds.precision_at(test.scores, test.labels)
    single = thresholds.has_one_label_each(train.labels) and thresholds.has_one_label_each(test.labels)
    return {
        **({"accuracy": _points(thresholds.accuracy(test.scores, test.labels))} if single else {}),
        "f1_micro": _points(found.micro), "f1_macro": _points(found.macro),
        "f1_per_class": dict(zip(classes, map(_points, found.per_class), strict=True)),
        "thresholds": {
            "of": SCORES.format(len(train.scores)),
            "micro": chosen.micro, "per_class": dict(zip(classes, chosen.per_class, strict=True)),
        },
        "precision_at": {str(k): None if share is None else _points(share) for k, share in precisions.items()},
    }  # fmt: skip


def show(name: str, facts: Mapping[str, Any], out: IO[str]) -> None:
    """Writes the classes of a result as a table, the best first; of many the best and the worst alone."""
    ranked = sorted(facts["per_class"].items(), key=lambda pair: -pair[1])
    columns = {"IoU" if facts.get("measure") == IOU else "AP": facts["per_class"]}
    if "f1_per_class" in facts:
        columns["F1"] = facts["f1_per_class"]
    if "mask" in facts:
        columns["mask AP"] = facts["mask"]["per_class"]
    rows = [(label, *(f"{column.get(label, 0):5.1f}" for column in columns.values())) for label, _ in ranked]
    if len(rows) > 2 * SHOWN + 1:
        rows = [*rows[:SHOWN], (f"… {len(rows) - 2 * SHOWN} more", *[""] * len(columns)), *rows[-SHOWN:]]
    title = f"{name}: {headline(facts)}; by class, {' and '.join(columns)}"
    tables.show(("class", *columns), rows, lambda row: False, out, title)


def headline(facts: Mapping[str, Any]) -> str:
    """A result in a line."""
    parts = [f"{facts.get('measure', 'mAP')} {facts['mAP']:.2f}"]
    parts += [f"{name} {facts[name]:.1f}" for name in ("AP50", "AP75") if name in facts]
    if "mask" in facts:
        parts.append(f"masks: AP {facts['mask']['mAP']:.2f}, AP50 {facts['mask']['AP50']:.1f}")
    if "f1_micro" in facts:
        shares = [f"P@{k} {share:.1f}" for k, share in facts["precision_at"].items() if share is not None]
        parts += [f"F1 {facts['f1_micro']:.1f} micro, {facts['f1_macro']:.1f} macro", *shares]
    if "accuracy" in facts:
        parts.insert(1, f"accuracy {facts['accuracy']:.1f}")
    if empty := len(facts["classes_without_positives"]):
        count = ", which count 0" if "f1_micro" in facts else ""
        parts.append(f"{empty} classes without a positive{count}")
    return ", ".join(parts)


def _points(share: float) -> float:
    return round(100 * float(share), 4)
