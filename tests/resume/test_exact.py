"""Stopped, killed and resumed runs end bit-identical to a run that nobody stopped."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.levels import FAST
from golang.config import Checkpoint, Config, Evaluation
from golang.engine.stops import STOP_SIGNALS
from golang.errors import CheckpointError
from golang.runfolder.checkpoints import entries, lineage
from golang.runfolder.folder import RunFolder
from golang.weights.sealed import read, write
from tests.resume.harness import TOTAL, Fault, differences, final_state, here, launch, metrics, settings

ON_A_GPU = [("cuda", precision) for precision in ("fp32", "bf16", "fp16") if torch.cuda.is_available()]


def assert_same(run_dir: Path, undisturbed: Path) -> None:
    assert (run_dir / "DONE").exists()
    assert differences(final_state(run_dir), final_state(undisturbed)) == []
    assert metrics(run_dir) == metrics(undisturbed)


def test_the_undisturbed_run(undisturbed: Path) -> None:
    state = final_state(undisturbed)
    assert state["step"] == TOTAL
    assert state["queue"]["filled"] == 16 and state["local_queue"]["filled"] == 64
    assert state["queue"]["rows"].abs().sum() > 0
    assert [line["step"] for line in metrics(undisturbed)] == [3, 6, 9, 12, 15, 18, 20]


def test_stopped_by_signals_to_one_rank(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    """Before the queues start, while they fill, on the thaw, and late; each signal that stops, to rank 0 or 1."""
    stops = [
        Fault(2, signal.SIGTERM, rank=0),
        Fault(5, signal.SIGUSR2, rank=1),
        Fault(8, signal.SIGHUP, rank=1),
        Fault(11, signal.SIGTERM, rank=1),
        Fault(14, signal.SIGUSR1, rank=1),
        Fault(17, signal.SIGINT, rank=0),
    ]
    for number, fault in enumerate(stops):
        assert launch(config, tmp_path / "run", ranks=2, fault=fault) == [75, 75]
        # The stop is agreed on in the step after the signal and takes effect in the one after that, everywhere.
        assert final_state(tmp_path / "run")["step"] in (fault.step + 1, fault.step + 2)
        cause = json.loads((tmp_path / f"run/attempts/{number:02d}/cause.json").read_text())
        assert cause["cause"] == STOP_SIGNALS[fault.signal]
    assert final_state(tmp_path / "run")["step"] < TOTAL
    assert launch(config, tmp_path / "run", ranks=2) == [0, 0]
    assert_same(tmp_path / "run", undisturbed)


def test_stop_on_the_thaw(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    """A checkpoint exactly at the step from which the prototypes learn."""
    frequent = replace(config, checkpoint=Checkpoint(60.0, every_steps=12, keep_last=2, keep_every_epochs=0))
    launch(frequent, tmp_path / "run", ranks=2, fault=Fault(14, signal.SIGKILL, rank=None))
    assert final_state(tmp_path / "run")["step"] == 12
    assert launch(config, tmp_path / "run", ranks=2) == [0, 0]
    assert_same(tmp_path / "run", undisturbed)


def test_killed_at_any_moment(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL of all ranks between saves, and of the writer in the middle of a save."""
    frequent = replace(config, checkpoint=Checkpoint(60.0, every_steps=2, keep_last=2, keep_every_epochs=0))
    run = tmp_path / "run"
    launch(frequent, run, ranks=2, fault=Fault(1, signal.SIGKILL, rank=None))
    assert lineage(RunFolder(run)) == []
    launch(frequent, run, ranks=2, fault=Fault(7, signal.SIGKILL, rank=None))
    assert final_state(run)["step"] == 6
    launch(frequent, run, ranks=2, fault=Fault(12, signal.SIGKILL, in_save=True))
    assert final_state(run)["step"] == 10
    assert list(run.glob("checkpoints/.*.tmp")), "the kill fell into a save"
    assert launch(frequent, run, ranks=2) == [0, 0]
    assert list(run.glob("checkpoints/.*.tmp")) == []
    assert_same_but_settings(run, undisturbed)


def assert_same_but_settings(run_dir: Path, undisturbed: Path) -> None:
    """As `assert_same`, for a run whose save interval, which is no part of its identity, was another."""
    state, golden = final_state(run_dir), final_state(undisturbed)
    state.pop("config"), golden.pop("config")
    assert differences(state, golden) == []
    assert metrics(run_dir) == metrics(undisturbed)


@pytest.mark.parametrize(("before", "after", "accumulate"), [(2, 1, 1), (1, 2, 1), (2, 1, 2)])
def test_another_number_of_ranks(data_root: Path, tmp_path: Path, before: int, after: int, accumulate: int) -> None:
    """fp64: within 1e-10 of the undisturbed run ten steps after the change, metrics included."""
    config = settings(data_root, precision="fp64", log_every_steps=1, optim={"accumulate": accumulate})
    assert launch(config, tmp_path / "whole", ranks=before) == [0] * before
    assert launch(config, tmp_path / "run", ranks=before, fault=Fault(8)) == [75] * before
    changed_at = final_state(tmp_path / "run")["step"]
    assert changed_at <= 10
    assert launch(config, tmp_path / "run", ranks=after) == [0] * after
    whole, run = final_state(tmp_path / "whole"), final_state(tmp_path / "run")
    for part in ("model", "optimizer", "queue", "local_queue"):
        assert differences(run[part], whole[part], tolerance=1e-10) == []
    assert differences(metrics(tmp_path / "run"), metrics(tmp_path / "whole"), tolerance=1e-10) == []
    assert len(metrics(tmp_path / "run")) == TOTAL


def test_damaged_checkpoints(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    """A flipped bit and a truncation are named, and the checkpoint before them is used."""
    run = tmp_path / "run"
    frequent = replace(config, checkpoint=Checkpoint(60.0, every_steps=3, keep_last=3, keep_every_epochs=0))
    launch(frequent, run, ranks=2, fault=Fault(11, signal.SIGKILL, rank=None))
    newest, older, oldest = lineage(RunFolder(run))
    assert [newest.step, older.step, oldest.step] == [9, 6, 3]
    data = bytearray(newest.path.read_bytes())
    data[len(data) // 2] ^= 1
    newest.path.write_bytes(data)
    older.path.write_bytes(older.path.read_bytes()[:-1000])
    for damaged in (newest, older):
        with pytest.raises(CheckpointError, match=damaged.path.name):
            read(damaged.path)
    assert launch(frequent, run, ranks=2) == [0, 0]
    start = json.loads((run / "attempts/01/start.json").read_text())
    assert start["resumed_from"] == oldest.path.name
    assert_same_but_settings(run, undisturbed)
    last, before, *_ = lineage(RunFolder(run))
    last.path.write_bytes(last.path.read_bytes()[:-1000])
    assert launch(frequent, run, ranks=2) == [0, 0], "finished no more"
    start = json.loads((run / "attempts/02/start.json").read_text())
    assert start["resumed_from"] == before.path.name
    assert_same_but_settings(run, undisturbed)
    assert launch(frequent, run, ranks=2) == [0, 0]
    assert RunFolder(run).attempt_numbers() == [0, 1, 2], "finished again"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision(precision: str, data_root: Path, tmp_path: Path) -> None:
    """With fp16 scale, growth counter and skipped steps go on too: the first step overflows at the initial scale."""
    config = settings(data_root, precision=precision)
    assert here(config, tmp_path / "whole") == 0
    assert launch(config, tmp_path / "run", ranks=1, fault=Fault(6)) == [75]
    assert launch(config, tmp_path / "run", ranks=1) == [0]
    assert (metrics(tmp_path / "whole")[-1]["skipped_steps"] > 0) is (precision == "fp16")
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(("ranks", "precision"), [(2, "fp32"), (1, "fp16")])
def test_micro_batches(ranks: int, precision: str, data_root: Path, tmp_path: Path) -> None:
    """A stop falls between whole batches; the queues fill, the prototypes thaw, the scaler's count goes on."""
    config = settings(data_root, precision=precision, optim={"accumulate": 2})
    assert launch(config, tmp_path / "whole", ranks) == [0] * ranks
    assert launch(config, tmp_path / "run", ranks, fault=Fault(6)) == [75] * ranks
    assert launch(config, tmp_path / "run", ranks) == [0] * ranks
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_deterministic_mode(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    """torch refuses what has no deterministic form: nothing in a step is refused, and no bit is another."""
    strict = replace(config, deterministic=True)
    assert launch(strict, tmp_path / "run", ranks=2, fault=Fault(8)) == [75, 75]
    assert launch(strict, tmp_path / "run", ranks=2) == [0, 0]
    assert_same_but_settings(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(("device", "precision"), [("cpu", "bf16"), *ON_A_GPU])
def test_deterministic_mode_of_fast_paths(device: str, precision: str, data_root: Path, tmp_path: Path) -> None:
    """The device's part of the pipeline; on a GPU also the transfer's stream, LARC in one vector and CUDA graphs."""
    config = settings(data_root, precision=precision, device=device, deterministic=True, data={"pipeline": "device"})
    assert launch(config, tmp_path / "whole", ranks=1) == [0]
    assert launch(config, tmp_path / "run", ranks=1, fault=Fault(8)) == [75]
    assert launch(config, tmp_path / "run", ranks=1) == [0]
    assert_same(tmp_path / "run", tmp_path / "whole")
    if device == "cuda":
        graphs = replace(config, cuda_graphs=True)
        assert launch(graphs, tmp_path / "graphs", ranks=1, fault=Fault(8)) == [75]
        assert launch(graphs, tmp_path / "graphs", ranks=1) == [0]
        assert_same_but_settings(tmp_path / "graphs", tmp_path / "whole")


def test_one_rank_killed(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    """The other says so, without a traceback, and leaves; the run goes on from the last save."""
    run = tmp_path / "run"
    frequent = replace(config, checkpoint=Checkpoint(60.0, every_steps=4, keep_last=2, keep_every_epochs=0))
    assert launch(frequent, run, ranks=2, fault=Fault(10, signal.SIGKILL, rank=1)) == [76, -signal.SIGKILL]
    said = (run / "attempts/00/rank0.log").read_text()
    assert "another rank is gone since step 1" in said and "step_00000008" in said and "Traceback" not in said
    assert launch(frequent, run, ranks=2) == [0, 0]
    assert_same_but_settings(run, undisturbed)


def test_other_versions_are_warned_of(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert launch(config, run, ranks=1, fault=Fault(2)) == [75]
    path = lineage(RunFolder(run))[0].path
    state = read(path)
    state["versions"]["torch"] = "1.0"
    state["ranks"]["meter"] = state["ranks"]["meter"][:, :5]  # as before there were so many metrics
    write(path, state)
    assert launch(config, run, ranks=1) == [0]
    said = (run / "attempts/01/rank0.log").read_text()
    assert "torch changed from 1.0 to" in said and "the next line of them covers the steps from here on" in said


def test_retention(config: Config, tmp_path: Path) -> None:
    """The last two, and every second epoch's for good."""
    keeping = replace(config, checkpoint=Checkpoint(60.0, every_steps=3, keep_last=2, keep_every_epochs=2))
    assert here(keeping, tmp_path / "run") == 0
    assert sorted(entry.step for entry in entries(RunFolder(tmp_path / "run"))) == [10, 18, 20]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "run", tmp_path / "run/checkpoints"))


def test_probes_change_nothing(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    """A run that is probed every two epochs, and stopped in between: the same bits, and a figure for each probe."""
    probed = replace(config, evaluation=Evaluation(probe_every_epochs=2))
    launch(probed, tmp_path / "run", ranks=2, fault=Fault(11, signal.SIGKILL, rank=None))
    assert launch(probed, tmp_path / "run", ranks=2) == [0, 0]
    assert_same_but_settings(tmp_path / "run", undisturbed)
    lines = [json.loads(line) for line in (tmp_path / "run/evaluation/during.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines] == [(10, 2)], "the last epoch's is the evaluation's own"
    assert 0 < lines[0]["mAP"] < 100


@pytest.mark.parametrize("pipeline", FAST)  # OpenCV's where it is installed
def test_a_fast_pipeline_resumes_exactly(config: Config, tmp_path: Path, pipeline: str) -> None:
    fast = replace(config, data=replace(config.data, pipeline=pipeline))  # type: ignore[arg-type]
    assert here(fast, tmp_path / "undisturbed") == 0
    assert launch(fast, tmp_path / "run", ranks=1, fault=Fault(8, signal.SIGTERM)) == [75]
    assert final_state(tmp_path / "run")["step"] < TOTAL
    assert launch(fast, tmp_path / "run", ranks=1) == [0]
    assert_same(tmp_path / "run", tmp_path / "undisturbed")
