"""Detection and segmentation go on to the same bits, wherever they were stopped, and ranks do what one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golang.config import Config
from golang.data.toy.write import write
from golang.engine.session import Session
from golang.evaluation.transfer.detection import Detection
from golang.evaluation.transfer.finetune import FineTuning
from golang.evaluation.transfer.scores import coco
from golang.evaluation.transfer.segmentation import Segmentation
from golang.method.trunk import build_trunk
from golang.runfolder.evaluations import result_name
from golang.runfolder.files import read_json
from golang.runfolder.pinned import pinned
from tests.cli.command import ROOT, finish, started
from tests.resume.harness import differences, final_state, here, launch, settings
from tests.resume.test_own_evaluation import tell
from tests.slurm.runs import flat

pytest.importorskip("faster_coco_eval")
TOY = {"classes": 5, "size": 64, "train": 13, "val": 5, "seed": 1}
Stop = Callable[[pytest.MonkeyPatch], None]
NUMBERS = {"detect": {"epochs": 2, "batch_size": 3}, "segment": {"epochs": 3, "batch_size": 4}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    torch.manual_seed(3)
    torch.save(build_trunk("small").state_dict(), folder / "trunk.pt")
    write(folder / "toy", asked(folder, "detect").data.toy, workers=1)
    return folder


def asked(folder: Path, protocol: str, **changes: object) -> Config:
    evaluation = {"protocol": protocol, "checkpoint": str(folder / "trunk.pt"), **NUMBERS[protocol]}
    return pinned(settings(folder / "toy", data={"workers": 0, "toy": TOY}, evaluation=evaluation, **changes))


@pytest.fixture(scope="module")
def whole(folder: Path) -> Callable[[str], Path]:
    """The undisturbed evaluation by a protocol."""

    def of(protocol: str) -> Path:
        run = folder / f"whole-{protocol}"
        if not run.exists():
            assert here(asked(folder, protocol), run) == 0
        return run

    return of


def result(run: Path, config: Config) -> dict:
    found = read_json(run / "evaluation" / result_name(config) / "result.json")
    assert found is not None
    return found


def in_a_step(patch: pytest.MonkeyPatch) -> None:
    go_on = Session.step

    def stopping(self: Session, done: int) -> bool:
        if done == 3:
            tell(self)
        return go_on(self, done)

    patch.setattr(Session, "step", stopping)


def while_norms_settle(patch: pytest.MonkeyPatch) -> None:
    losses, calls = FineTuning._losses, []

    def stopping(self: FineTuning, batch: object) -> object:
        calls.append(self.part)
        if calls.count("norms") == 2:
            tell(self.session)
        return losses(self, batch)

    patch.setattr(FineTuning, "_losses", stopping)


def while_scoring(patch: pytest.MonkeyPatch) -> None:
    for task in (Detection, Segmentation):
        score = task.score

        def stopping(self: object, session: Session, folder: Path, score: Callable = score) -> object:
            tell(session)
            return score(self, session, folder)

        patch.setattr(task, "score", stopping)


def while_figures_are_counted(patch: pytest.MonkeyPatch) -> None:
    """The class that is under way is the last one."""
    score, count = Detection.score, coco._precisions
    sessions, classes = list[Session](), list[int]()

    def scoring(self: Detection, session: Session, folder: Path) -> object:
        sessions.append(session)
        return score(self, session, folder)

    def stopping(objects: object, column: int, *rest: object) -> object:
        classes.append(column)
        assert classes == [0]
        tell(sessions[0])
        return count(objects, column, *rest)

    patch.setattr(Detection, "score", scoring)
    patch.setattr(coco, "_precisions", stopping)


@pytest.mark.parametrize(
    ("protocol", "stop"),
    [
        ("detect", in_a_step), ("detect", while_norms_settle), ("detect", while_scoring),
        ("detect", while_figures_are_counted), ("segment", in_a_step), ("segment", while_scoring),
    ],
)  # fmt: skip
def test_it_goes_on_to_the_same_bits(
    folder: Path, whole: Callable[[str], Path], tmp_path: Path, protocol: str, stop: Stop
) -> None:
    config = asked(folder, protocol)
    with pytest.MonkeyPatch.context() as patch:
        stop(patch)
        assert here(config, tmp_path / "run") == 75
    assert final_state(tmp_path / "run")["part"] == {
        in_a_step: "training", while_norms_settle: "norms", while_scoring: "scoring",
        while_figures_are_counted: "scoring",
    }[stop]  # fmt: skip
    assert here(config, tmp_path / "run") == 0
    assert differences(final_state(whole(protocol)), final_state(tmp_path / "run")) == []
    assert result(tmp_path / "run", config) == result(whole(protocol), config)


@pytest.mark.parametrize("protocol", ["detect", "segment"])
def test_two_ranks_agree_with_one(folder: Path, tmp_path: Path, protocol: str) -> None:
    """In fp64, over ten steps; batches of three images leave the ranks with unlike shares."""
    config = asked(folder, protocol, precision="fp64")
    config = replace(config, evaluation=replace(config.evaluation, batch_size=3, epochs=3))
    for ranks in (1, 2):
        assert launch(config, tmp_path / str(ranks), ranks) == [0] * ranks
    one, two = (final_state(tmp_path / ranks) for ranks in "12")
    assert one["done"] == two["done"] >= 10
    for name, value in one["network"].items():
        assert torch.allclose(value.double(), two["network"][name].double(), rtol=1e-10, atol=1e-10), name
    found = [result(tmp_path / ranks, config) for ranks in "12"]
    assert found[0]["mAP"] == pytest.approx(found[1]["mAP"], abs=1e-6)


def test_torchrun_ends_as_one_rank_does(folder: Path, whole: Callable[[str], Path], tmp_path: Path) -> None:
    config = asked(folder, "segment")
    typed = [word for word in flat(config.to_dict()) if not word.startswith("evaluation.")]
    typed += [f"evaluation.{name}={value}" for name, value in NUMBERS["segment"].items()]
    typed += ["data=toy", "evaluation=segment", f"checkpoint={folder / 'trunk.pt'}", "run_dir=here"]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    with started(tmp_path, [str(ROOT / "run.py"), *typed], torchrun) as process:
        code, output = finish(process)
    assert code == 0, output
    two, one = result(tmp_path / "here", config), result(whole("segment"), config)
    assert two["protocol"] == one["protocol"] and two["mAP"] == pytest.approx(one["mAP"], abs=0.5)
    networks = (final_state(run)["network"] for run in (tmp_path / "here", whole("segment")))
    assert differences(*networks, tolerance=1e-3) == []
