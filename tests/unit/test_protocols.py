"""SS-PRL's protocols to the number, and what running one does: train, resume exactly, say what is honest."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from golang.config import Config, Data, Evaluation, Toy
from golang.config.checks import TRANSFER, check
from golang.config.identity import run_id
from golang.data import sets
from golang.data.images import ImageSet
from golang.errors import ConfigError
from golang.evaluation import __main__ as command
from golang.evaluation import table
from golang.evaluation.average_precision import average_precision
from golang.evaluation.features import Features
from golang.evaluation.protocols import numbers as protocols
from golang.evaluation.protocols.knn import knn
from golang.evaluation.protocols.numbers import PROTOCOLS
from golang.method.trunk import Trunk, build_trunk
from golang.runfolder.checkpoints import latest
from golang.runfolder.evaluations import DATA, data_of, results_of
from golang.runfolder.folder import RunFolder
from golang.runfolder.pinned import digest, pinned
from golang.weights.sealed import read
from tests.resume.harness import here, settings

CPU = torch.device("cpu")
TOY = Toy(classes=5, size=32, train=60, val=24, seed=4)
SHORT = replace(PROTOCOLS["linear_coco"], epochs=3, batch_size=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSet, ImageSet]:
    pytest.importorskip("matplotlib")
    config = Data(name="toy", root=str(tmp_path_factory.mktemp("toy") / "set"), toy=TOY)
    return sets.open_train(config), sets.open_val(config)


def trunk() -> Trunk:
    torch.manual_seed(3)
    return build_trunk("small")


def test_the_numbers_are_the_papers() -> None:
    linear, voc = PROTOCOLS["linear_coco"], PROTOCOLS["linear_voc"]
    data = {name: protocol.data for name, protocol in PROTOCOLS.items()} | {"knn": linear.data}
    assert data == {name: where for name, where in DATA.items() if name not in TRANSFER}
    assert (linear.data, linear.epochs, linear.batch_size, linear.head_lr) == ("coco2014", 100, 128, 0.1)
    assert (voc.data, voc.epochs, voc.batch_size, voc.head_lr) == ("voc2007", 100, 32, 0.03)
    assert not linear.tunes_trunk and not voc.tunes_trunk
    for share, name in ((0.01, "semisup_coco_1"), (0.1, "semisup_coco_10")):
        semi = PROTOCOLS[name]
        assert (semi.epochs, semi.batch_size, semi.head_lr, semi.trunk_lr) == (20, 32, 0.1, 0.001)
        assert (semi.share, semi.milestones) == (share, (12, 16)) and semi.tunes_trunk
        assert not protocols.find(name, published=True).tunes_trunk
        rates = [semi.rate(0.1, epoch) for epoch in (0, 11, 12, 15, 16, 19)]
        assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004])
    assert linear.rate(0.1, 0) == 0.1 and linear.rate(0.1, 50) == pytest.approx(0.05)
    assert 0 < linear.rate(0.1, 99) < 1e-4, "cosine to 0"
    assert (protocols.SEED, protocols.CLIP, protocols.MOMENTUM, protocols.DECAY) == (777, 10.0, 0.9, 1e-6)
    head = protocols.build_head(2048, 80)
    assert float(head.weight.detach().std()) == pytest.approx(0.01, rel=0.02) and (head.bias == 0.1).all()
    assert len(protocols.subset(82783, 0.01)) == 828 and len(protocols.subset(82783, 0.1)) == 8278
    with pytest.raises(ConfigError, match="linear_coca is not one of linear_coco"):
        protocols.find("linear_coca")


def test_the_loss_leaves_255_out() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 3.0]], dtype=torch.float64)
    labels = torch.tensor([[1, 0, 255], [255, 255, 1]], dtype=torch.uint8)
    by_hand = (np.log(2) + np.log1p(np.exp(2)) + np.log1p(np.exp(-3))) / 2
    assert float(protocols.loss(logits, labels, 2)) == pytest.approx(by_hand, abs=1e-12)


@pytest.fixture
def measured(data: tuple[ImageSet, ImageSet], tmp_path: Path, monkeypatch) -> Config:
    """The settings of a short linear evaluation of a trunk's file."""
    monkeypatch.setitem(PROTOCOLS, "linear_coco", SHORT)
    torch.save(trunk().state_dict(), tmp_path / "x.pt")
    toy = {"name": "toy", "root": str(data[0].root.parent), "workers": 0, "toy": asdict(TOY)}
    evaluation = {"protocol": "linear_coco", "checkpoint": str(tmp_path / "x.pt")}
    return pinned(Config.from_dict({"data": toy, "evaluation": evaluation, "device": "cpu"}))


def test_a_linear_evaluation(measured: Config, tmp_path: Path) -> None:
    assert here(measured, tmp_path / "a") == 0
    result = json.loads((tmp_path / "a" / "evaluation" / "linear_coco" / "result.json").read_text())
    figures = [line["mAP"] for line in result["history"]]
    assert len(figures) == 3 and result["mAP"] == figures[-1] and result["mAP_best"] == max(figures)
    assert result["checkpoint"].endswith("x.pt") and result["labelled"]["trunk"] == "frozen"
    assert np.mean(list(result["per_class"].values())) == pytest.approx(result["mAP"], abs=1e-3)
    state = read(latest(RunFolder(tmp_path / "a")))
    assert len(state["parts"]) == 1, "frozen, batch norm too: there is nothing of the trunk to save"
    assert len(json.loads((tmp_path / "a" / "evaluation" / "linear_coco" / "subset.json").read_text())["images"]) == 60


def test_other_weights_are_another_evaluation(
    measured: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert replace(measured, seed=1, sweep="b").to_dict() != measured.to_dict()
    assert run_id(replace(measured, seed=1, sweep="b")) == run_id(measured), "no training, no seed"
    evaluation = replace(measured.evaluation, checkpoint_sha256="")
    torch.save(build_trunk("small").state_dict(), tmp_path / "x.pt")
    assert here(measured, tmp_path / "a") == 2, "the file has changed since"
    other = pinned(Config.from_dict(replace(measured, evaluation=evaluation).to_dict()))
    assert run_id(other) != run_id(measured)
    assert run_id(replace(measured, evaluation=replace(evaluation, protocol=("knn",)))) != run_id(measured)
    with pytest.raises(ConfigError, match="say how: evaluation=linear_coco"):
        check(Config.from_dict({"evaluation": {"checkpoint": str(tmp_path / "x.pt")}}))


def test_neighbours() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < 0.4).astype(np.uint8)
    x = (2.0 * labels @ rng.normal(size=(3, 8)) + 0.05 * rng.normal(size=(200, 8)) + 1).astype(np.float32)

    def score(rows: np.ndarray, votes: np.ndarray) -> np.ndarray:
        return average_precision(
            knn(Features(rows[:150], votes, rows[150:], labels[150:]), CPU), labels[150:]
        ).per_class

    assert score(x, labels[:150]).mean() > 0.97
    masked = labels[:150].copy()
    masked[:, 0] = 255
    assert score(x, masked)[0] < 0.7, "no vote, no knowledge"
    assert score(rng.normal(size=x.shape).astype(np.float32), labels[:150]).mean() < 0.65


def test_command_line(
    data: tuple[ImageSet, ImageSet], tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PROTOCOLS, "linear_coco", SHORT)
    torch.save(trunk().state_dict(), tmp_path / "trunk.pt")
    common = ["--root", str(data[0].root.parent), "--data", "coco2017", "--workers", "0", "--device", "cpu"]
    for name in ("linear_coco", "knn"):
        assert command.main([name, str(tmp_path / "trunk.pt"), *common, "--out", str(tmp_path / "out")]) == 0
        assert f"{name}: mAP " in capsys.readouterr().out
        result = json.loads((tmp_path / "out" / name / "result.json").read_text())
        assert 0 < result["mAP"] < 100 and result["checkpoint"].endswith("trunk.pt")
    assert command.main(["knn", str(tmp_path / "trunk.pt"), *common]) == 2
    assert "--out FOLDER" in capsys.readouterr().out
    assert command.main(["table", str(tmp_path)]) == 0
    (row,) = json.loads((tmp_path / "evaluations.json").read_text())
    assert (row["run"], row["checkpoint"], list(row["evaluations"])) == ("out", "trunk.pt", ["knn", "linear_coco"])
    near, linear = row["evaluations"].values()
    assert (linear["train_images"], linear["test_images"], linear["trunk"]) == (60, 24, "frozen")
    text = (tmp_path / "evaluations.md").read_text()
    assert text in capsys.readouterr().out
    assert text.splitlines()[2] == (
        f"| out | trunk.pt | {near['mAP']:.2f} | {linear['mAP']:.2f} ({linear['mAP_best']:.2f}) |"
    )
    assert command.main(["table", str(tmp_path / "nothing")]) == 2


def test_a_run_ends_with_its_protocol(data: tuple[ImageSet, ImageSet], tmp_path: Path, monkeypatch) -> None:
    """The same command evaluates a run that is finished; its identity stays."""
    monkeypatch.setitem(PROTOCOLS, "linear_coco", SHORT)
    root = data[0].root.parent
    toy = {"name": "toy", "workers": 0, "toy": asdict(TOY)}
    config = settings(root, data=toy, optim={"epochs": 1}, queue={"length": 0, "local_length": 0})
    asked = replace(config, evaluation=Evaluation(protocol=("linear_coco", "knn")))
    assert run_id(asked) == run_id(config)
    assert here(config, tmp_path / "run") == 0 and not (tmp_path / "run" / "evaluation").exists()
    assert here(asked, tmp_path / "run") == 0
    result = json.loads((tmp_path / "run" / "evaluation" / "linear_coco" / "result.json").read_text())
    assert len(result["history"]) == 3 and "step_" in result["checkpoint"]
    assert (tmp_path / "run" / "evaluation" / "knn" / "result.json").exists()
    assert RunFolder(tmp_path / "run").attempt_numbers() == [0]
    assert here(asked, tmp_path / "run") == 0
    assert RunFolder(tmp_path / "run" / "evaluation" / "linear_coco").attempt_numbers() == [0], "left alone"

    # By itself, on the run's own images; of the finished run, of its last checkpoint, and of an earlier one.
    assert command.main(["knn", str(tmp_path / "run"), "--workers", "0", "--device", "cpu"]) == 0
    (last,) = (tmp_path / "run" / "checkpoints").glob("step_*.pt")
    early = Path(shutil.copy(last, last.with_name("step_00000001.a00.pt")))
    for file, name in ((last, "knn"), (early, "knn-step_00000001.a00")):
        evaluation = Evaluation(protocol=("knn",), checkpoint=str(file), checkpoint_sha256=digest(file))
        one = replace(config, evaluation=evaluation)
        assert results_of(one, tmp_path / "own") == tmp_path / "run" / "evaluation" / name
        assert here(one, tmp_path / name / "own") == 0
        assert (tmp_path / "run" / "evaluation" / name / "result.json").exists()
    elsewhere = replace(one, evaluation=replace(evaluation, checkpoint="a.pt"))
    assert results_of(elsewhere, tmp_path / "own") == tmp_path / "own" / "evaluation" / "knn"
    found = {row["checkpoint"]: list(row["evaluations"]) for row in table.rows(tmp_path / "run")}
    assert found == {early.name: ["knn"], last.name: ["knn", "linear_coco"]}
    (tmp_path / "run" / "evaluation").rename(tmp_path / "outside")
    (tmp_path / "run" / "evaluation").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / name / "result.json").unlink()
    assert here(replace(one, name="again"), tmp_path / "again") == 2
    assert not (tmp_path / "outside" / name / "result.json").exists(), "nothing is written through a link"


def test_where_a_protocol_finds_its_images(tmp_path: Path) -> None:
    def of(protocol: str, name: str, root: str, elsewhere: str | None = None) -> Data:
        evaluation = {"protocol": protocol, "root": elsewhere}
        return data_of(Config.from_dict({"data": {"name": name, "root": root}, "evaluation": evaluation}), protocol)

    found = of("linear_coco", "coco2017", "/coco")
    assert (found.name, found.root) == ("coco2014", "/coco")
    assert of("linear_voc", "coco2014", "/coco", "/voc").root == "/voc"
    with pytest.raises(
        ConfigError, match=r"measured on voc2007, and data=coco2014 is another set; set evaluation\.root"
    ):
        of("linear_voc", "coco2014", "/coco")
    missing = Config.from_dict({"data": {"name": "folder", "root": str(tmp_path)}, "evaluation": {"protocol": "knn"}})
    assert here(missing, tmp_path / "run") == 2 and not (tmp_path / "run").exists(), "said before training"
