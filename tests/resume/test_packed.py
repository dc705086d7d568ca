"""A run reads a pack as it reads loose files, in the middle of it too; and how one ends while it copies to its node."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from golang import exits
from golang.config import Config
from golang.data.__main__ import main
from golang.data.packed import stage
from golang.engine import watchdog
from golang.engine.stops import STOP_SIGNALS
from tests.resume.harness import Fault, launch
from tests.resume.test_exact import assert_same_but_settings


@pytest.fixture(scope="module")
def pack(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packs") / "toy"
    assert main(["pack", str(data_root), str(out), "--shard-size", "20kB"]) == 0
    return out


def reading(config: Config, pack: Path, node: Path | None = None) -> Config:
    """`config` with its images from a pack, copied to the folder `node` if there is one and removed at the end."""
    stage = str(node) if node else None
    return replace(config, data=replace(config.data, root=str(pack), stage=stage, keep_staged=False))


def test_a_run_goes_on_from_a_pack(config: Config, undisturbed: Path, pack: Path, tmp_path: Path) -> None:
    """From loose files to the pack, and on to its copy on the node: the same bits as from loose files alone."""
    run, node = tmp_path / "run", tmp_path / "node"
    assert launch(config, run, ranks=2, fault=Fault(5)) == [75, 75]
    assert launch(reading(config, pack), run, ranks=2, fault=Fault(11)) == [75, 75]
    assert launch(reading(config, pack, node), run, ranks=2) == [0, 0]
    assert_same_but_settings(run, undisturbed)
    log = (run / "attempts/02/rank0.log").read_text()
    assert f"copying images to data.stage={node}" in log and "all nodes are ready after" in log
    assert not list(node.rglob("*.tar")), "removed by the rank that left last"


def stopped(source: Path, target: Path, file: object, tick: Callable[[int], None]) -> None:
    """Copies for ever, and is asked to stop."""
    tick(1)
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        tick(1)
        time.sleep(0.01)


def endless(source: Path, target: Path, file: object, tick: Callable[[int], None]) -> None:
    time.sleep(1000)


def copies_for_ever() -> None:
    stage._copy_file = stopped


def hangs() -> None:
    stage._copy_file = endless
    watchdog.LINGER = 0.5


def test_stopped_while_it_copies(config: Config, undisturbed: Path, pack: Path, tmp_path: Path) -> None:
    """Nothing new is saved, and the run goes on as if nothing had been."""
    run, staged = tmp_path / "run", reading(config, pack, tmp_path / "node")
    assert launch(config, run, ranks=2, fault=Fault(5)) == [75, 75]
    before = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert launch(staged, run, ranks=2, prepare=copies_for_ever) == [75, 75]
    cause = json.loads((run / "attempts/01/cause.json").read_text())
    assert cause["cause"] == STOP_SIGNALS[signal.SIGTERM] and cause["step"] > 0
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before
    assert launch(staged, run, ranks=2) == [0, 0]
    assert_same_but_settings(run, undisturbed)


def test_a_copy_that_hangs_is_a_hang(config: Config, pack: Path, tmp_path: Path) -> None:
    impatient = replace(reading(config, pack, tmp_path / "node"), hang_seconds=2.0)
    assert launch(impatient, tmp_path / "run", ranks=1, prepare=hangs) == [exits.HUNG]
    cause = json.loads((tmp_path / "run/attempts/00/cause.json").read_text())
    assert cause["cause"] == "hang" and "no progress for 2 s while copying images to data.stage" in cause["message"]
