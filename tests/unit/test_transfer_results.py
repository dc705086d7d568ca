"""What becomes of the results of detection and segmentation: tables, `launch status` and `launch report`, W&B."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from golang.evaluation import result, table
from golang.runfolder.folder import RunFolder
from golang.runfolder.results import beside
from launch.monitor.status import standings
from launch.report import page
from launch.report.outcome import outcomes
from launch.sweep.find import runs_in
from tests.unit.test_report import add_run

NOTHING: dict[str, Any] = {"classes_without_positives": [], "train_images": 9, "test_images": 4}
DETECTED = {
    "mAP": 40.25, "AP50": 60.5, "AP75": 43.75, "AP_small": None, "per_class": {"cat": 50.0, "dog": 30.5},
    "mask": {"mAP": 36.5, "AP50": 57.25, "AP75": 38.0, "per_class": {"cat": 45.0, "dog": 28.0}},
    "protocol": {"name": "detect_coco", "frozen": False}, **NOTHING,
}  # fmt: skip
BOXES = {key: value for key, value in DETECTED.items() if key != "mask"} | {"protocol": {"frozen": True}}
SEGMENTED = {
    "measure": "mIoU", "mAP": 66.125, "pixel_accuracy": 90.0, "per_class": {"background": 92.0, "cat": 40.25},
    "protocol": {"name": "segment_voc", "frozen": False}, **NOTHING,
}  # fmt: skip
RESULTS = {"detect_coco": DETECTED, "detect-coco-frozen=true": BOXES, "segment_voc": SEGMENTED}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run with each of RESULTS, and a linear probe."""
    found = add_run(tmp_path / "runs/grid", {"optim.epochs": 100}, 30.0)
    for name, facts in RESULTS.items():
        folder = found.evaluation / name
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps({"checkpoint": "step_40.pt", **facts}))
    return found


def test_the_table_has_what_is_beside_an_ap(run: RunFolder) -> None:
    data, text = table.write(run.path.parent)
    named = f"| {run.path.name} | step_40.pt |"
    lines = text.read_text().splitlines()
    assert f"{named} 40.25 | 40.25 | 66.12 |" in lines
    assert f"{named} detect_coco | tuned | 40.25 | AP | 60.50 | 43.75 | 36.50 | 57.25 | 38.00 |" in lines
    assert f"{named} detect-coco-frozen=true | frozen | 40.25 | AP | 60.50 | 43.75 |  |  |  |" in lines
    assert f"{named} segment_voc | tuned | 66.12 | mIoU |  |  |  |  |  |" in lines
    (row,) = (row for row in json.loads(data.read_text()) if row["checkpoint"] == "step_40.pt")
    figures = row["evaluations"]["detect_coco"]
    assert (figures["trunk"], figures["AP50"], figures["mask AP"]) == ("tuned", 60.5, 36.5)
    assert row["evaluations"]["segment_voc"]["measure"] == "mIoU"


def test_status_and_report_have_the_main_figures(run: RunFolder) -> None:
    ((standing,), _) = standings(runs_in(run.path.parent))
    points = {"detect_coco": 40.25, "detect-coco-frozen=true": 40.25, "segment_voc": 66.125}
    assert standing.mAP == points | {"probe": 30.0}
    (outcome,) = outcomes(run.path.parent)
    assert outcome.scores == points | {"linear": 30.0}
    assert outcome.beside["detect_coco AP50"] == 60.5 and outcome.beside["detect_coco mask AP"] == 36.5
    assert not any("segment_voc" in name for name in outcome.beside)
    text = page.write(run.path.parent)[0].read_text().replace("\\", "")
    assert "| detect_coco mask AP |" in text and "| 60.50 |" in text and "| 36.50 |" in text


def test_wandb_gets_the_precisions_of_boxes_and_masks(run: RunFolder) -> None:
    client = pytest.importorskip("golang.tracking.client")
    pytest.importorskip("wandb")
    found = client.summary(run)
    own = {key.removeprefix("evaluation/detect_coco/"): value for key, value in found.items() if "/detect_coco/" in key}
    assert own == {
        "mAP": 40.25, "AP50": 60.5, "AP75": 43.75, "mask/mAP": 36.5, "mask/AP50": 57.25, "mask/AP75": 38.0,
    }  # fmt: skip
    assert found["evaluation/segment_voc/mAP"] == 66.125 and found["mAP"] == 40.25


def test_results_without_boxes_have_nothing_beside() -> None:
    assert beside(SEGMENTED) == beside({"mAP": 1.0}) == beside({"AP50": None, "mask": None}) == {}


def test_classes_are_shown_with_masks(capsys: pytest.CaptureFixture[str]) -> None:
    result.show("detect_coco", DETECTED, sys.stdout)
    said = capsys.readouterr().out
    assert "mAP 40.25, AP50 60.5, AP75 43.8, masks: AP 36.50, AP50 57.2" in said
    assert "mask AP" in said and "45.0" in said
    result.show("segment_voc", SEGMENTED, sys.stdout)
    assert "segment_voc: mIoU 66.12" in capsys.readouterr().out
