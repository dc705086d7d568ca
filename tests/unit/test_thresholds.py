"""Metrics of a yes or no: by hand, and as scikit-learn has them; and what a result shows of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from sklearn.metrics import f1_score, top_k_accuracy_score

from golang.evaluation import result, thresholds
from golang.evaluation.result import Scored
from golang.evaluation.thresholds import Thresholds


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


@pytest.mark.parametrize(
    ("scores", "labels", "best"),
    [
        # F1 is 2/3 at .9, 1/2 at .8, 4/5 at .7 and 2/3 at .1
        ((0.9, 0.8, 0.7, 0.1), (1, 0, 1, 0), 0.7),
        ((0.1, 0.7, 0.8, 0.9), (0, 1, 0, 1), 0.7),
        # equal scores are said yes or no together: 2/3 at .5, not 1 for the first of them
        ((0.5, 0.5, 0.2), (1, 0, 0), 0.5),
        # 2/3 both at .9 and at .6: the higher
        ((0.9, 0.8, 0.7, 0.6), (1, 0, 0, 1), 0.9),
        ((0.99, 0.9, 0.8, 0.7, 0.1), (255, 1, 0, 1, 0), 0.7),
        ((0.9, 0.1), (0, 255), None),
    ],
)
def test_the_best_threshold_by_hand(scores: tuple, labels: tuple, best: float | None) -> None:
    found = thresholds.choose(column(*scores), np.array(labels, np.uint8)[:, None])
    assert found == Thresholds(best, (best,))


def drawn(images: int = 80, classes: int = 4, seed: int = 0) -> Scored:
    """Scores on a coarse grid, so that some are equal, and labels of which some are unknown."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 255], np.uint8), (images, classes), p=(0.6, 0.3, 0.1))
    return Scored(((labels == 1) * 0.3 + rng.random((images, classes))).round(1) / 1.3, labels)


def test_no_threshold_is_better_than_the_one_chosen() -> None:
    one = drawn()
    known = one.labels != 255
    chosen = thresholds.choose(one.scores, one.labels)
    columns = [(one.scores[known[:, c], c], one.labels[known[:, c], c]) for c in range(4)]
    for at, (scores, labels) in zip(
        (chosen.micro, *chosen.per_class), ((one.scores[known], one.labels[known]), *columns), strict=True
    ):
        reached = {value: f1_score(labels, scores >= value) for value in np.unique(scores)}
        assert at is not None and reached[at] == pytest.approx(max(reached.values()), abs=1e-12)


def test_f1_is_scikit_learns() -> None:
    train, test = drawn(), drawn(seed=1)
    known = test.labels != 255
    chosen = thresholds.choose(train.scores, train.labels)
    found = thresholds.f1(test.scores, test.labels, chosen)
    assert found.micro == pytest.approx(f1_score(test.labels[known], test.scores[known] >= chosen.micro))
    for c, at in enumerate(chosen.per_class):
        own = known[:, c]
        assert found.per_class[c] == pytest.approx(f1_score(test.labels[own, c], test.scores[own, c] >= at))
    whole = (test.labels == 1).astype(np.uint8)
    found, said = thresholds.f1(test.scores, whole, chosen), test.scores >= np.array(chosen.per_class)
    assert found.macro == pytest.approx(f1_score(whole, said, average="macro"))
    assert found.micro == pytest.approx(f1_score(whole, test.scores >= chosen.micro, average="micro"))


def test_a_class_without_a_positive_counts_0() -> None:
    scores = np.array([[0.9, 0.9, 0.9], [0.1, 0.2, 0.8]])
    chosen = thresholds.choose(scores, np.array([[1, 0, 1], [0, 255, 1]], np.uint8))
    assert chosen.per_class == (0.9, None, 0.8)
    found = thresholds.f1(scores, np.array([[1, 1, 0], [0, 0, 255]], np.uint8), chosen)
    assert found.per_class.tolist() == [1.0, 0.0, 0.0], "never said; nothing to find"
    assert found.macro == pytest.approx(1 / 3)
    assert thresholds.f1(scores, np.full((2, 3), 255, np.uint8), chosen).micro == 0.0


def test_precision_at_k_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.5, 0.5, 0.4, 0.5]])
    labels = np.array([[0, 1, 1, 0], [0, 1, 0, 1]], np.uint8)
    assert thresholds.precision_at(scores, labels) == {1: 0.0, 3: pytest.approx((2 / 3 + 2 / 3) / 2)}
    # The highest is unknown of the first image; of the second two are left, too few for k = 3.
    labels = np.array([[255, 1, 1, 0], [255, 1, 255, 1]], np.uint8)
    assert thresholds.precision_at(scores, labels) == {1: 1.0, 3: pytest.approx(2 / 3)}
    assert thresholds.precision_at(scores[1:], labels[1:]) == {1: 1.0, 3: None}
    assert list(thresholds.precision_at(np.zeros((1, 9)), np.ones((1, 9), np.uint8))) == [1, 3, 5]


def test_accuracy_where_every_image_has_one_class() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 7, 50), rng.random((50, 7))
    labels = np.eye(7, dtype=np.uint8)[truth]
    assert thresholds.has_one_label_each(labels)
    assert thresholds.accuracy(scores, labels) == pytest.approx(top_k_accuracy_score(truth, scores, k=1))
    assert thresholds.accuracy(scores, labels) == thresholds.precision_at(scores, labels)[1]
    for odd in (0, 255, 1):
        other = labels.copy()
        other[0] = np.where(labels[0] == 1, 1, odd) if odd else 0
        assert not thresholds.has_one_label_each(other)


def test_the_figures_of_a_result() -> None:
    train, test = drawn(), drawn(seed=1)
    names = ("cat", "dog", "emu", "fox")
    found = result.figures(train, test, names)
    chosen = thresholds.choose(train.scores, train.labels)
    assert found["thresholds"]["micro"] == chosen.micro and "on 80 training images" in found["thresholds"]["of"]
    assert list(found["thresholds"]["per_class"].items()) == list(zip(names, chosen.per_class, strict=True))
    assert found["f1_macro"] == pytest.approx(np.mean(list(found["f1_per_class"].values())), abs=1e-3)
    assert list(found["precision_at"]) == ["1", "3"] and "accuracy" not in found
    single = Scored(train.scores, np.eye(4, dtype=np.uint8)[np.arange(80) % 4])
    assert 0 < result.figures(single, single, names)["accuracy"] < 100
    assert "accuracy" not in result.figures(train, single, names), "the training images have several"


def test_thresholds_are_chosen_on_no_more_scores_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.arange(10, 30)
    assert result.chosen_on(images, 5, seed=1).tolist() == images.tolist()
    monkeypatch.setattr(result, "MOST", 40)
    found = result.chosen_on(images, 5, seed=1).tolist()
    assert len(set(found)) == 8 and found == sorted(found) and set(found) <= set(images.tolist())
    assert result.chosen_on(images, 5, seed=1).tolist() == found != result.chosen_on(images, 5, seed=2).tolist()


@pytest.mark.parametrize(("classes", "shown"), [(11, 11), (30, 11)])
def test_a_table_of_classes_shows_the_best_and_the_worst(classes: int, shown: int) -> None:
    per_class = {f"c{number}": float(number) for number in range(classes)}
    facts = {
        "mAP": 12.3, "accuracy": 50.0, "per_class": per_class, "classes_without_positives": ["c0"],
        "f1_per_class": {name: 2 * value for name, value in per_class.items()}, "f1_micro": 45.6, "f1_macro": 34.5,
        "precision_at": {"1": 66.7, "3": None},
    }  # fmt: skip
    out = io.StringIO()
    result.show("linear", facts, out)
    title, *rows = out.getvalue().splitlines()
    assert title.startswith("linear: mAP 12.30, accuracy 50.0, F1 45.6 micro, 34.5 macro, P@1 66.7, 1 classes without")
    assert len(rows) == shown and rows[0].split() == [f"c{classes - 1}", f"{classes - 1}.0", f"{2 * classes - 2}.0"]
    assert rows[-1].split() == ["c0", "0.0", "0.0"] and ("… 20 more" in out.getvalue()) == (classes == 30)
