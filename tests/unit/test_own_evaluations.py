"""Evaluations on labelled sets of one's own: from their images to what is reported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from golang.config import Config, Evaluation
from golang.errors import UnlabelledError
from golang.evaluation import __main__ as command
from golang.evaluation import table
from golang.method.trunk import build_trunk
from golang.runfolder.evaluations import unprobed
from golang.runfolder.folder import RunFolder
from golang.runfolder.pinned import pinned
from golang.runfolder.results import of_protocol, results
from tests.resume.harness import here, settings
from tests.unit.test_voc import write_voc


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("weights") / "trunk.pt"
    torch.save(build_trunk("small").state_dict(), file)
    return file


def photos(root: Path, train: int = 6, val: int = 3) -> Path:
    """Three classes that a colour tells, in ImageNet's layout, smaller and larger than what an evaluation sees."""
    for split, count in (("train", train), ("val", val)):
        for kind, (name, colour) in enumerate((("blue", (9, 9, 250)), ("green", (9, 250, 9)), ("red", (250, 9, 9)))):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                image = Image.new("RGB", (20 + 50 * n, 40 + 50 * kind), colour)
                image.save(root / split / name / f"{n}.png")
    return root


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / "evaluation" / name / "result.json").read_text())


def test_images_of_one_class_each(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each protocol from the shell; the table of all; and what is said of a set or a number that cannot be."""
    common = ["--data", "imagenet", "--root", str(photos(tmp_path / "photos")), "--workers", "0", "--device", "cpu"]
    out, said = tmp_path / "out", capsys.readouterr
    numbers = ["--epochs", "3", "--batch-size", "6", "--lr", "0.5"]
    assert command.main(["linear", str(weights), *common, "--out", str(out), *numbers]) == 0
    shown = said().out
    name = "linear-imagenet-epochs=3-batch_size=6-lr=0.5"
    facts = json.loads((out / name / "result.json").read_text())
    assert facts["accuracy"] == facts["precision_at"]["1"] and len(facts["history"]) == 3
    assert list(facts["per_class"]) == ["blue", "green", "red"] and facts["classes_without_positives"] == []
    assert f"linear: mAP {facts['mAP']:.2f}, accuracy {facts['accuracy']:.1f}, F1 " in shown and "green " in shown
    assert json.loads((out / name / "subset.json").read_text())["images"][:2] == ["blue/0.png", "blue/1.png"]
    assert command.main(["semisup", str(weights), *common, "--out", str(out), "--share", "0.5", "--epochs", "1"]) == 0
    facts = json.loads((out / "semisup-imagenet-epochs=1-share=0.5" / "result.json").read_text())
    assert facts["train_images"] == 9 and "on 9 training images" in facts["thresholds"]["of"]
    assert command.main(["knn", str(weights), *common, "--out", str(out)]) == 0
    facts = json.loads((out / "knn-imagenet" / "result.json").read_text())
    assert facts["mAP"] == facts["accuracy"] == facts["f1_micro"] == facts["f1_macro"] == 100, "colours are neighbours"
    (row,) = table.rows(out)
    assert set(row["evaluations"]) == {name, "semisup-imagenet-epochs=1-share=0.5", "knn-imagenet"}
    assert row["evaluations"]["knn-imagenet"]["precision_at"] == {"1": 100, "3": pytest.approx(33.3333)}
    _, text = table.write(out)
    assert "| out | trunk.pt | knn-imagenet | 100.00 | 100.00 | 100.00 | 100.00 | 33.33 |  |" in text.read_text()
    said()
    for arguments, message in (
        (["linear", str(weights)], "say which, as in --data list --root LIST"),
        (["linear", str(weights), "--data", "folder", "--root", "x"], "needs labels: data=folder has no labels"),
        (
            ["linear", str(weights), "--data", "coco", "--train", "x"],
            "no images to measure on; set data.val.annotations=FILE",
        ),
        (["linear_voc", str(weights), "--root", "x", "--epochs", "3"], "evaluation.epochs=3 is a number of"),
    ):
        assert command.main([*arguments, "--out", str(tmp_path / "none")]) == 2
        assert message in (text := said().out) and len(text.splitlines()) == 1, text
    assert not (tmp_path / "none").exists()


def test_labels_that_are_unknown(weights: Path, tmp_path: Path) -> None:
    """VOC's difficult objects: in no loss, no vote and no figure."""
    data = {"name": "voc2007", "root": str(write_voc(tmp_path / "set", 2007)), "workers": 0}
    for name in ("linear", "knn"):
        numbers = {"epochs": 2} if name == "linear" else {}
        evaluation = {"protocol": name, "checkpoint": str(weights), **numbers}
        config = Config.from_dict({"data": data, "evaluation": evaluation, "device": "cpu"})
        assert here(pinned(config), tmp_path / name) == 0
        facts = result(tmp_path / name, f"{name}-voc2007" + "-epochs=2" * bool(numbers))
        assert facts["classes_without_positives"] == ["cat"] and facts["thresholds"]["per_class"]["cat"] is None
        assert facts["per_class"]["cat"] == facts["f1_per_class"]["cat"] == 0 and "accuracy" not in facts
        assert facts["mAP"] == pytest.approx(np.mean(list(facts["per_class"].values())), abs=1e-3)


LABELS = ("1,0", "0,1", ",1", "1,", "1,0", "0,1", "0,0", "1,1")  # of left and right; nothing: unknown


def listed(folder: Path, header: str, lines: Callable[[str, int], str]) -> Config:
    """The settings of a short training on a list of eight pictures to train on and eight to measure on."""
    rng = np.random.default_rng(0)
    rows = [header] if header else []
    for split in ("train", "val"):
        for n in range(8):
            pixels = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{split}{n}.png")
            rows.append(lines(split, n))
    file = folder / ("list.csv" if header else "list.txt")
    file.write_text("\n".join(rows) + "\n")
    data = {"name": "list", "workers": 0}
    return settings(file, data=data, optim={"epochs": 1}, queue={"length": 0, "local_length": 0})


@pytest.mark.parametrize(
    ("header", "line", "why"),
    [("", "{split}{n}.png", "no images to evaluate on"), ("image,split", "{split}{n}.png,{split}", "have no labels")],
)
def test_a_list_without_labels_is_trained_on_and_not_probed(tmp_path: Path, header: str, line: str, why: str) -> None:
    config = listed(tmp_path, header, lambda split, n: line.format(split=split, n=n))
    probing, run = replace(config, evaluation=Evaluation(probe=True)), RunFolder(tmp_path / "run")
    assert unprobed(probing, run.path)
    assert here(probing, run.path) == 0
    assert run.done and not unprobed(probing, run.path), "there is nothing left to do"
    assert why in results(run)["linear"]["unlabelled"]
    with pytest.raises(UnlabelledError, match=why):
        command.show_results(run.path)
    for asked in (Evaluation(protocol=("linear",)), Evaluation(probe_every_epochs=1)):
        assert here(replace(config, evaluation=asked), tmp_path / "other") == 2
        assert not (tmp_path / "other").exists(), "said before training"


def test_a_list_is_evaluated_at_the_end_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With unknown labels in both parts; beside it the quick probe, which keeps its name."""
    config = listed(tmp_path, "image,left,right,split", lambda split, n: f"{split}{n}.png,{LABELS[n]},{split}")
    monkeypatch.setattr("golang.evaluation.summary.draw_attention", lambda run: None)
    asked = Evaluation(protocol=("linear", "knn"), epochs=2, batch_size=4, probe=True)
    assert here(replace(config, evaluation=asked), tmp_path / "run") == 0
    found = results(RunFolder(tmp_path / "run"))
    near, linear, probe = sorted(found)[0], sorted(found)[2], "linear"
    assert re.fullmatch(r"linear-list(-[0-9a-f]{8})?-epochs=2-batch_size=4", linear) and near.startswith("knn-list")
    assert found.keys() == {near, linear, probe}
    assert found[probe]["settings"]["protocol"].startswith("L2-regularised")
    for facts in found.values():
        assert {"f1_micro", "f1_macro", "f1_per_class", "thresholds", "precision_at"} <= facts.keys()
        assert list(facts["per_class"]) == ["left", "right"] and 0 < facts["f1_micro"] <= 100
    assert of_protocol(found, "linear") == [linear]
    assert of_protocol([*found, "knn-list-step_00000001.a00", "knn"], "knn") == ["knn", near]
