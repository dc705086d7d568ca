"""An evaluation on the run's own set goes on to the same bits, wherever it was stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from golang.config import Config
from golang.data.toy.write import write
from golang.engine.session import Session
from golang.evaluation.protocols.supervised import Supervised
from golang.method.trunk import build_trunk
from golang.runfolder.evaluations import result_name
from golang.runfolder.pinned import pinned
from tests.resume.harness import differences, final_state, here, settings
from tests.resume.test_evaluation import result


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("own")
    torch.manual_seed(3)
    torch.save(build_trunk("small").state_dict(), root / "trunk.pt")
    numbers = {"protocol": "semisup", "share": 0.4, "epochs": 3, "batch_size": 8, "checkpoint": str(root / "trunk.pt")}
    toy = {"classes": 5, "size": 32, "train": 44, "val": 25, "seed": 1}
    config = settings(root / "toy", data={"workers": 0, "toy": toy}, evaluation=numbers)
    write(root / "toy", config.data.toy, workers=1)
    return pinned(config)


@pytest.fixture(scope="module")
def whole(asked: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert here(asked, folder) == 0
    return folder


def tell(session: Session) -> None:
    """SIGTERM, which has been heard when this returns, however busy the machine is."""
    os.kill(os.getpid(), signal.SIGTERM)
    while not session.rank.listener.signal:
        time.sleep(0.001)


def in_a_step(patch: pytest.MonkeyPatch) -> None:
    go_on = Session.step

    def stopping(self: Session, done: int) -> bool:
        if done == 4:
            tell(self)
        return go_on(self, done)

    patch.setattr(Session, "step", stopping)


def while_thresholds_are_chosen(patch: pytest.MonkeyPatch) -> None:
    measure = Supervised._training_logits

    def stopping(self: Supervised) -> object:
        tell(self.session)
        return measure(self)

    patch.setattr(Supervised, "_training_logits", stopping)


@pytest.mark.parametrize("stop", [in_a_step, while_thresholds_are_chosen])
def test_it_goes_on_to_the_same_bits(
    asked: Config, whole: Path, tmp_path: Path, stop: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop(patch)
        assert here(asked, tmp_path / "run") == 75
    assert final_state(tmp_path / "run")["done"] < final_state(whole)["done"] or stop is while_thresholds_are_chosen
    assert here(asked, tmp_path / "run") == 0
    name = result_name(asked)
    assert result(tmp_path / "run", name) == result(whole, name)
    states = [final_state(folder) for folder in (whole, tmp_path / "run")]
    for state in states:
        state.pop("history")
    assert differences(*states) == []
