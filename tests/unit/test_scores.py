"""Scores of boxes, masks and maps: against pycocotools, by hand, over ranks, and from a checkpoint."""

from __future__ import annotations

import contextlib
import io
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golang.data.objects.objects import Objects
from golang.evaluation.transfer.networks.types import Detections
from golang.evaluation.transfer.scores.coco import coco
from golang.evaluation.transfer.scores.matching import Matches, iou
from golang.evaluation.transfer.scores.results import MissingScorerError, Results
from golang.evaluation.transfer.scores.segments import Confusion
from golang.evaluation.transfer.scores.voc import by_image, voc11
from tests.golden.runs import on_ranks
from tests.unit.scenes import CLASSES, generated, objects_of, results_of

BOX = (10.0, 10.0, 30.0, 30.0)


def shifted(by: float) -> tuple[float, float, float, float]:
    """BOX further right: IoU (20 − by) / (20 + by)."""
    return 10.0 + by, 10.0, 30.0 + by, 30.0


def joined(found: list[Detections]) -> Results:
    return Results.joined([Results.of(image, one) for image, one in enumerate(found)], masked=True)


def by_pycocotools(objects: Objects, found: list[Detections], kind: str) -> Any:
    """Scored from the same truths and detections, written down as the files of COCO are."""
    coco_module, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    mask = pytest.importorskip("pycocotools.mask")

    def coded(one: np.ndarray) -> Any:
        return mask.encode(np.asfortranarray(one.astype(np.uint8)))

    truths, detections = [], []
    for index, id in enumerate(objects.ids.tolist()):
        own = slice(objects.offsets[index], objects.offsets[index + 1])
        rows = zip(objects.boxes[own].tolist(), objects.classes[own], objects.ignored[own], objects.areas[own],
                   objects.masks(index), strict=True)  # fmt: skip
        for (x0, y0, x1, y1), column, ignored, area, shape in rows:
            truths.append({
                "id": len(truths) + 1, "image_id": id, "category_id": int(column) + 1, "iscrowd": int(ignored),
                "area": float(area), "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": coded(shape),
            })  # fmt: skip
        assert found[index].masks is not None
        for (x0, y0, x1, y1), score, column, shape in zip(*(one.tolist() for one in found[index][:3]),
                                                          found[index].masks.numpy(), strict=True):  # fmt: skip
            what = {"bbox": [x0, y0, x1 - x0, y1 - y0]} if kind == "bbox" else {"segmentation": coded(shape)}
            detections.append({"image_id": id, "category_id": column + 1, "score": score, **what})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_module.COCO()
        truth.dataset = {
            "info": {}, "annotations": truths,
            "images": [{"id": id, "width": w, "height": h}
                       for id, (w, h) in zip(objects.ids.tolist(), objects.sizes.tolist(), strict=True)],
            "categories": [{"id": column, "name": name} for column, name in enumerate(CLASSES, 1)],
        }  # fmt: skip
        truth.createIndex()
        scorer = cocoeval.COCOeval(truth, truth.loadRes(detections), kind)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_is_pycocotools(kind: str) -> None:
    pytest.importorskip("faster_coco_eval")
    objects, found = generated(0, 40)
    figures = coco(objects, joined(found))
    figures = figures if kind == "bbox" else figures["mask"]
    scorer = by_pycocotools(objects, found, kind)
    names = ("mAP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
    assert [figures[name] for name in names] == [100 * value for value in scorer.stats[:6]]
    assert 5 < figures["mAP"] < 95 and figures["AP_small"] != figures["AP_large"]
    precision = scorer.eval["precision"][:, :, :, 0, -1]
    assert figures["per_class"] == {name: 100 * precision[:, :, c].mean() for c, name in enumerate(CLASSES[:4])}
    assert figures["classes_without_positives"] == ["kite"]


def test_a_detector_that_finds_nothing() -> None:
    pytest.importorskip("faster_coco_eval")
    objects, _ = generated(1, 5)
    figures = coco(objects, Results.joined([], masked=True))
    assert figures["mAP"] == figures["AP50"] == figures["mask"]["mAP"] == 0.0
    assert voc11(objects, Results.none(masked=False))["mAP"] == 0.0
    boxes = coco(objects, Results.none(masked=False))
    assert "mask" not in boxes


def test_what_a_checkpoint_keeps_goes_on(tmp_path: Path) -> None:
    """Scored in two lives, the second half first: the same detections in the order of the set."""
    pytest.importorskip("faster_coco_eval")
    _, found = generated(2, 12)
    parts = [Results.of(image, one) for image, one in enumerate(found)]
    Results.joined(parts[7:], masked=True).save(tmp_path / "half.pt")
    half = Results.load(tmp_path / "half.pt")
    whole, again = joined(found), Results.joined([half, *parts[:7]], masked=True)
    assert whole.state().keys() == again.state().keys() and len(whole) == sum(len(one.scores) for one in found)
    assert all(torch.equal(one, again.state()[name]) for name, one in whole.state().items())
    for image, one in enumerate(found):
        assert one.masks is not None
        height, width = one.masks.shape[1:]
        assert np.array_equal(again.masks(image, height, width), one.masks.numpy())
        assert torch.equal(again.boxes[again.of_image(image)], one.boxes)


def gathered(rank: int, inputs: None) -> dict[str, torch.Tensor]:
    """Rank 0 has seen the odd images, rank 1 the others; maps too."""
    _, found = generated(3, 9)
    own = range(1, 9, 2) if rank == 0 else range(0, 9, 2)
    device = torch.device("cpu")
    mine = Results.joined([Results.of(image, found[image]) for image in own], masked=True)
    nothing = Results.none(masked=True) if rank == 0 else mine
    confusion = Confusion(("a", "b"))
    confusion.add(torch.tensor([[0, 1, 255]]), torch.tensor([[rank, 1, 0]]))
    together = confusion.over_ranks(device)
    alone = nothing.over_ranks(device)
    return {**mine.over_ranks(device).state(), "counts": together.counts, "own": confusion.counts, "few": alone.scores}


def test_ranks_score_as_one() -> None:
    pytest.importorskip("faster_coco_eval")
    _, found = generated(3, 9)
    whole = joined(found).state()
    for rank, one in enumerate(on_ranks(2, gathered, None)):
        assert all(np.array_equal(one[name], value) for name, value in whole.items())
        assert one["counts"].tolist() == [[1, 1], [0, 2]]
        assert one["own"].tolist() == [[[1, 0], [0, 1]], [[0, 1], [0, 1]]][rank], "a second gathering counts the same"
        assert len(one["few"]) == sum(len(found[image].scores) for image in range(0, 9, 2))


def test_without_the_scorer_an_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core.faster_eval_api", None)
    with pytest.raises(MissingScorerError, match="pip install 'faster-coco-eval"):
        coco(objects_of([[("cat", BOX, False)]]), Results.none(masked=False))
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core.mask", None)
    assert voc11(objects_of([[("cat", BOX, False)]]), results_of([(0, "cat", BOX, 0.5)]))["mAP"] == 100.0
    _, found = generated(0, 1)
    with pytest.raises(MissingScorerError, match="box and mask AP need"):
        Results.of(0, next(one for one in found if len(one.scores)))


def test_overlap_counts_pixels_as_voc_does() -> None:
    """The devkit's boxes are the first and the last pixel, counted from 1, with 1 added to each side."""
    one, other = (3.0, 4.0, 13.0, 24.0), (8.0, 4.0, 20.0, 20.0)
    a, b = (np.add(box, (1, 1, 0, 0)) for box in (one, other))  # x0 = 3 is the edge before pixel 4
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    assert (width, height, areas) == (5, 16, [200, 192])
    assert iou(np.array([one]), np.array([other]))[0, 0] == 80 / (200 + 192 - 80)


def test_eleven_points_by_hand() -> None:
    """Four cats. In the order of scores: right, wrong, right, right; one cat is never found.

    found      1     1     2     3
    precision  1/1   1/2   2/3   3/4
    recall     1/4   1/4   2/4   3/4

    Best precision at recall ≥ 0, .1, .2: 1. At ≥ .3, .4, .5: of 2/3 and 3/4 the better, 3/4; at ≥ .6, .7 3/4 too.
    At ≥ .8, .9, 1: never reached, 0. Sum 3 · 1 + 5 · 3/4 = 6.75, over 11.
    """
    objects = objects_of([[("cat", BOX, False)]] * 4)
    far = (60.0, 40.0, 90.0, 70.0)
    found = results_of([(0, "cat", BOX, 0.9), (0, "cat", far, 0.8), (1, "cat", BOX, 0.7), (2, "cat", BOX, 0.6)])
    figures = voc11(objects, found)
    assert figures["AP50"] == figures["AP75"] == pytest.approx(100 * 6.75 / 11, abs=1e-12)
    assert figures["mAP"] == pytest.approx(100 * 6.75 / 11, abs=1e-12), "the boxes are exact at every IoU"
    assert figures["classes_without_positives"] == ["dog", "bus", "cup", "kite"]
    assert figures["per_class"] == {"cat": figures["mAP"]}


def test_recall_of_three_in_ten_reaches_the_third_point() -> None:
    """Right, right, right, and 7 never found: precision 1 at recall ≥ 0, .1, .2 and .3 = 3/10. 4 of 11."""
    found = results_of([(image, "cat", BOX, 0.5) for image in range(3)])
    assert voc11(objects_of([[("cat", BOX, False)]] * 10), found)["AP50"] == pytest.approx(400 / 11, abs=1e-12)


def test_overlaps_decide() -> None:
    """A shift of 5 of 20 pixels: IoU 15/25 = .6, right at .50, .55 and .60: AP 1 there and 0 at the 7 others."""
    figures = voc11(objects_of([[("cat", BOX, False)]]), results_of([(0, "cat", shifted(5), 0.5)]))
    assert (figures["AP50"], figures["AP75"]) == (100.0, 0.0)
    assert figures["mAP"] == pytest.approx(30.0, abs=1e-12)


def test_several_on_one_object() -> None:
    """The best score is right even where the second overlaps more; the second is wrong: precision 1, 1/2, recall 1, 1.
    With a worse score for the right one's class-mate elsewhere nothing changes: AP 1 at .5. At .75 the shifted one
    (IoU .6) is wrong and the exact one right: precision 0/1, 1/2; AP 1/2."""
    found = results_of([(0, "cat", shifted(5), 0.9), (0, "cat", BOX, 0.8)])
    figures = voc11(objects_of([[("cat", BOX, False)]]), found)
    assert (figures["AP50"], figures["AP75"]) == (100.0, 50.0)


def test_the_second_of_two_does_not_fall_back_on_the_next_object() -> None:
    """Both overlap the left cat most (IoU .6 and 1): the second is wrong, though it overlaps the right cat (at a shift
    of 5) by .6, which nobody claims. Precision 1, 1/2; recall 1/2: AP at recall ≥ 0 … .5 is 1: 6/11."""
    objects = objects_of([[("cat", BOX, False), ("cat", shifted(5), False)]])
    found = results_of([(0, "cat", BOX, 0.9), (0, "cat", BOX, 0.8)])
    assert voc11(objects, found)["AP50"] == pytest.approx(600 / 11, abs=1e-12)


def test_difficult_objects_count_neither_way() -> None:
    """Two cats, one of them difficult; found: the difficult one twice, then the other: precision 1/1 at recall 1/1."""
    objects = objects_of([[("cat", BOX, True)], [("cat", BOX, False)]])
    found = [(0, "cat", BOX, 0.9), (0, "cat", BOX, 0.8), (1, "cat", BOX, 0.7)]
    assert voc11(objects, results_of(found))["AP50"] == 100.0
    # Without the overlap it is as wrong as any: precision 0, 1/2, 2 wrong ones before the right one: 1/3.
    wrong = [(0, "cat", (50.0, 50.0, 60.0, 60.0), score) for score in (0.9, 0.8)]
    assert voc11(objects, results_of([*wrong, found[2]]))["AP50"] == pytest.approx(100 / 3, abs=1e-12)


def test_another_class_is_wrong_and_only_difficult_ones_are_none() -> None:
    objects = objects_of([[("cat", BOX, False), ("dog", BOX, True)]])
    figures = voc11(objects, results_of([(0, "bus", BOX, 0.9), (0, "dog", BOX, 0.8)]))
    assert figures["per_class"] == {"cat": 0.0}
    assert figures["classes_without_positives"] == ["dog", "bus", "cup", "kite"]


def test_of_equal_scores_the_earlier_image_comes_first() -> None:
    """Wrong on image 0, right on image 1, both at .5: precision 0/1, 1/2: AP 1/2; the other way round 1."""
    far = (60.0, 40.0, 90.0, 70.0)
    objects = objects_of([[("cat", BOX, False)], [("dog", BOX, False)]])
    mirrored = objects_of([[("dog", BOX, False)], [("cat", BOX, False)]])
    assert voc11(objects, results_of([(0, "cat", BOX, 0.5), (1, "cat", far, 0.5)]))["per_class"]["cat"] == 100.0
    assert voc11(mirrored, results_of([(0, "cat", far, 0.5), (1, "cat", BOX, 0.5)]))["per_class"]["cat"] == 50.0


def test_single_images() -> None:
    """Image 0: a cat found, a dog not: recall 1/2, precision 1: 6/11. Image 1: nothing to be found. Image 2: missed."""
    objects = objects_of([[("cat", BOX, False), ("dog", shifted(40), False)], [("cat", BOX, True)],
                          [("cat", BOX, False)]])  # fmt: skip
    points = by_image(objects, results_of([(0, "cat", BOX, 0.9), (1, "bus", BOX, 0.9)]))
    assert points[0] == pytest.approx(600 / 11, abs=1e-12) and math.isnan(points[1]) and points[2] == 0.0
    right, neither = Matches.of(objects, results_of([(1, "cat", BOX, 0.9)])).judged(0.5)
    assert (right.tolist(), neither.tolist()) == ([False], [True])


def test_mean_iou_by_hand() -> None:
    """Three classes on 2 × 4 pixels, one of them ignored.

    truth 0 0 1 1    found 0 1 1 1
          0 0 1 –          0 0 0 2

    Class 0: 3 right, 1 more true, 1 more found: 3/5. Class 1: 2 right, 1 more true, 1 more found: 2/4. Class 2 is
    neither true nor found, for its pixel is ignored.
    """
    confusion = Confusion(("ground", "cat", "dog"))
    truth, found = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 255]]), torch.tensor([[0, 1, 1, 1], [0, 0, 0, 2]])
    assert confusion.add(truth, found) == pytest.approx(55.0)
    figures = confusion.figures()
    assert figures["mAP"] == pytest.approx(55.0) and figures["pixel_accuracy"] == pytest.approx(100 * 5 / 7)
    assert figures["per_class"] == pytest.approx({"ground": 60.0, "cat": 50.0})
    assert figures["classes_without_positives"] == ["dog"]

    # Another image, in another life: a dog is found where none is, which counts 0.
    again = Confusion(("ground", "cat", "dog"), confusion.counts.clone())
    assert again.add(torch.tensor([[0, 0]]), torch.tensor([[0, 2]])) == pytest.approx(25.0)
    assert again.figures()["per_class"] == pytest.approx({"ground": 400 / 7, "cat": 50.0, "dog": 0.0})
    assert again.counts.dtype == torch.int64 and int(again.counts.sum()) == 9
    assert math.isnan(confusion.add(torch.tensor([[255]]), torch.tensor([[0]]))), "nothing counts there"
