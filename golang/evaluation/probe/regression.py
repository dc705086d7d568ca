"""A linear multi-label probe: how much of the labels a linear map reads off frozen features, in seconds.

One logistic regression a class, on features standardised by the training set's own mean and deviation: without that,
one penalty would weigh heavily on units of small scale and hardly on others, and trunks of different scale could not
be compared. The problem is convex and solved to the end (L-BFGS over all images at once), so no learning rate, order
of images or initial value has a say. This is the quick measure of a run; the published figures come from SS-PRL's
protocol (arXiv 2208.14439), a linear layer trained with SGD on augmented images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from golang.errors import DataError
from golang.evaluation.average_precision import IGNORE, AveragePrecision, average_precision
from golang.evaluation.features import Ask, Features
from golang.randomness import Purpose, permutation

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)  # of the L2 penalty, strongest first
HELD_OUT = 0.2  # share of the training images on which the strength is chosen
CPU = torch.device("cpu")
ITERATIONS = 100  # of L-BFGS at most, a strength


@dataclass(frozen=True)
class Probe:
    """What a linear probe found."""

    result: AveragePrecision  # on the validation set
    l2: float  # the strength chosen
    held_out: dict[float, float]  # mean AP on the held-out images by strength
    train_logits: npt.NDArray[Any]  # [N, classes]
    val_logits: npt.NDArray[Any]  # [M, classes]


def linear_probe(features: Features, seed: int, device: torch.device = CPU, ask: Ask = lambda: None) -> Probe:
    """Fits the probe on the training features and measures it on the validation features.

    The strength of the penalty is the one with the best mean AP on a fifth of the training images, drawn by `seed` and
    held out; the probe is then fitted to all of them. Validation labels have no part in it. In fp64 on the CPU, fp32 on
    a GPU; `ask` is called before each look at the data. Raises DataError for labels and features that do not fit each
    other.
    """
    _check(features)
    order = permutation(len(features.train), seed, Purpose.PROBE)
    cut = max(1, round(HELD_OUT * len(order)))
    held, kept = order[:cut], order[cut:]
    trial = _Regression(features.train[kept], features.train_labels[kept], device, ask)
    scores = {
        l2: average_precision(trial.fit(l2).logits(features.train[held]), features.train_labels[held]).mean
        for l2 in STRENGTHS
    }
    best = max(scores, key=lambda l2: (scores[l2], l2))
    final = _Regression(features.train, features.train_labels, device, ask)
    for l2 in STRENGTHS[: STRENGTHS.index(best) + 1]:
        final.fit(l2)
    logits = final.logits(features.val)
    return Probe(average_precision(logits, features.val_labels), best, scores, final.logits(features.train), logits)


def chance(labels: npt.NDArray[np.uint8]) -> AveragePrecision:
    """What scores without information reach on labels [N, classes]: each class's share of positives."""
    known = labels != IGNORE
    positive = ((labels == 1) & known).sum(0)
    per_class = positive / np.maximum(known.sum(0), 1)
    return AveragePrecision(per_class, float(per_class.mean()), tuple(np.flatnonzero(positive == 0).tolist()))


class _Regression:
    """Logistic regressions of all classes at once: weights [C + 1, classes], the last row the bias, unpenalised.

    mean over images, sum over classes of the cross-entropy, + l2/2 · ‖weights without bias‖². Each `fit` starts from
    the one before, so a path from strong to weak penalties is cheap.
    """

    def __init__(
        self, x: npt.NDArray[Any], labels: npt.NDArray[np.uint8], device: torch.device, ask: Ask = lambda: None
    ) -> None:
        self.ask, self.device = ask, device
        self.dtype = torch.float32 if device.type == "cuda" else torch.float64
        values = torch.from_numpy(x).to(device, self.dtype)
        self.mean = values.mean(0)
        self.deviation = values.std(0, unbiased=False)
        # A dead unit is the same everywhere; dividing by its deviation would blow up rounding errors.
        self.deviation[self.deviation < 1e-6 * (self.deviation.max() + 1e-30)] = torch.inf
        self.x = self._standardised(values)
        truth = torch.from_numpy(labels).to(device)
        self.known = (truth != IGNORE).to(self.dtype)
        self.y = (truth == 1).to(self.dtype)
        self.weights = torch.zeros(self.x.shape[1], labels.shape[1], dtype=self.dtype, device=device)

    def fit(self, l2: float) -> _Regression:
        weights = self.weights.requires_grad_()
        solver = torch.optim.LBFGS(
            [weights], max_iter=ITERATIONS, tolerance_grad=1e-6, history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            self.ask()
            solver.zero_grad()
            entropy = F.binary_cross_entropy_with_logits(self.x @ weights, self.y, self.known, reduction="sum")
            total = entropy / len(self.x) + l2 / 2 * weights[:-1].square().sum()
            total.backward()
            return total

        solver.step(loss)  # type: ignore[arg-type, no-untyped-call, unused-ignore]
        self.weights = weights.detach()
        return self

    def logits(self, x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        values = self._standardised(torch.from_numpy(x).to(self.device, self.dtype))
        found: npt.NDArray[Any] = (values @ self.weights).cpu().numpy()
        return found

    def _standardised(self, values: Tensor) -> Tensor:
        return torch.cat([(values - self.mean) / self.deviation, values.new_ones(len(values), 1)], dim=1)


def _check(features: Features) -> None:
    train, val = (features.train, features.train_labels), (features.val, features.val_labels)
    for what, (x, labels) in (("training", train), ("validation", val)):
        if len(x) != len(labels) or not len(x):
            raise DataError(f"{len(x)} {what} features cannot be probed for {len(labels)} rows of labels")
        if not np.isfinite(x).all():
            raise DataError(f"the {what} features hold numbers that are not finite: this trunk has diverged")
    if len(features.train) < 2:
        raise DataError("one training image is too few for a linear probe: part of the images is held out")
