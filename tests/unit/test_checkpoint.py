"""Checkpoint files: sealed, atomic, found by lineage."""

from __future__ import annotations

import hashlib
import io
import json
import random
from pathlib import Path

import pytest
import torch

from golang.config import Config
from golang.engine.saver import Saver
from golang.engine.snapshot import Snapshot
from golang.errors import CheckpointError, ConfigError, RunBusyError
from golang.runfolder.checkpoints import MARK, SEAL, Entry, latest, lineage
from golang.runfolder.files import yaml_text
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import MetricsLog, read_metrics
from golang.weights.sealed import read, write
from tests.resume.harness import encoded


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", Config())


def put(run: RunFolder, step: int, attempt: int) -> Path:
    path = Entry.at(run, step, attempt).path
    write(path, {"step": step, "weights": torch.arange(50.0)})
    return path


def test_round_trip_and_plain_torch_load(tmp_path: Path) -> None:
    state = {"weights": torch.randn(3, 4), "nested": {"n": 3, "names": ["a"], "none": None}}
    write(tmp_path / "a.pt", state)
    for loaded in (read(tmp_path / "a.pt"), torch.load(tmp_path / "a.pt", weights_only=True)):
        assert torch.equal(loaded["weights"], state["weights"]) and loaded["nested"] == state["nested"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_any_flipped_bit_and_any_truncation_is_seen(tmp_path: Path) -> None:
    whole = encoded({"weights": torch.randn(64)})
    path = tmp_path / "a.pt"
    draw = random.Random(0)
    for position in [0, len(whole) - 1, *draw.sample(range(len(whole)), 60)]:
        data = bytearray(whole)
        data[position] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="damaged"):
            read(path)
    for length in (0, 1, 70, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            read(path)


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    buffer = io.BytesIO()
    torch.save({"x": Evil()}, buffer)
    write(tmp_path / "a.pt", {"x": torch.zeros(1)})
    (tmp_path / "b.pt").write_bytes(buffer.getvalue())
    with pytest.raises(Exception):  # noqa: B017 - whatever refuses it
        read(tmp_path / "b.pt")
    with pytest.raises(Exception):  # noqa: B017
        torch.load(tmp_path / "b.pt", weights_only=True)
    assert not (tmp_path / "ran").exists()


def test_lineage_leaves_out_a_zombies_files(run: RunFolder) -> None:
    """Attempt 1 went on from step 100 of attempt 0, which lived on and wrote 120; then attempt 2 continued 110."""
    run.start_attempt(1, {}, None)
    put(run, 90, 0)
    continued = put(run, 100, 0)
    run.start_attempt(1, {}, continued.name)
    put(run, 120, 0)
    assert [(e.step, e.attempt) for e in lineage(run)] == [(100, 0), (90, 0)]
    newest = put(run, 110, 1)
    assert [(e.step, e.attempt) for e in lineage(run)] == [(110, 1), (100, 0), (90, 0)]
    run.start_attempt(1, {}, newest.name)
    put(run, 130, 1)
    assert [(e.step, e.attempt) for e in lineage(run)] == [(110, 1), (100, 0), (90, 0)]
    found = latest(run)
    assert found is not None and read(found)["step"] == 110


def test_latest_passes_over_damage(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    run.start_attempt(1, {}, None)
    put(run, 5, 0)
    put(run, 9, 0).write_bytes(b"half a file")
    found = latest(run)
    assert found is not None and found == Entry.at(run, 5, 0).path
    assert Entry.at(run, 9, 0).path.name in caplog.text


def test_the_seal_alone_decides_what_is_whole(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is what was written, but holds what is not loaded, is refused by name instead of passed over."""
    run.start_attempt(1, {}, None)
    put(run, 5, 0)
    odd = Entry.at(run, 9, 0).path
    buffer = io.BytesIO()
    torch.save({"path": Path("x")}, buffer)  # an object, which weights_only refuses
    archive = buffer.getvalue()[:-2] + SEAL.to_bytes(2, "little")
    odd.write_bytes(archive + MARK + hashlib.sha256(archive).hexdigest().encode())
    assert latest(run) == odd and not caplog.text
    with pytest.raises(CheckpointError, match="not loaded for safety"):
        read(odd)


def test_a_snapshot_is_a_copy() -> None:
    weights = torch.zeros(3)
    snapshot = Snapshot({"a": [weights], "b": (1, "x")})
    weights += 1
    copied = snapshot.read()
    assert copied["a"][0].tolist() == [0, 0, 0] and copied["b"] == (1, "x")


def test_folder_of_another_run(run: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"belongs to another run .* they differ in seed\. Choose another folder"):
        RunFolder.create(run.path, Config(seed=1))
    RunFolder.create(run.path, Config(log_every_steps=7))
    assert run.config().log_every_steps == 7


def test_damaged_config(run: RunFolder) -> None:
    run.config_file.write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        run.config()


def test_config_is_yaml_and_json(run: RunFolder) -> None:
    yaml = pytest.importorskip("yaml")
    text = yaml_text({"lr": 1e-6, "big": 1e22, "list": [1e-7, 2], "text": "a: b", "none": None})
    assert (
        yaml.safe_load(text)
        == json.loads(text)
        == {
            "lr": 1e-6,
            "big": 1e22,
            "list": [1e-7, 2],
            "text": "a: b",
            "none": None,
        }
    )
    assert Config.from_dict(yaml.safe_load(run.config_file.read_text())) == Config()


def test_held_twice(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golang.runfolder.lock.PATIENCE", 0.1)
    busy = pytest.raises(RunBusyError, match=r"being trained already by process \d+ on \S+, since 20")
    with run.hold(), busy, run.hold():
        pass
    with run.hold():
        pass


def test_metrics_are_cut_to_the_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    zombie = MetricsLog(path, 0)
    for step in (10, 20, 30):
        zombie.write({"step": step, "attempt": 0})
    with path.open("a") as file:
        file.write('{"step": 40, "los')
    newer = MetricsLog(path, 20)
    newer.write({"step": 30, "attempt": 1})
    zombie.write({"step": 50, "attempt": 0})
    assert [(line["step"], line["attempt"]) for line in read_metrics(path)] == [(10, 0), (20, 0), (30, 1)]


def test_a_save_that_fails_in_any_way_is_said(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    saver = Saver(run.start_attempt(1, {}, None), 2)
    saver.submit(1, {"step": 1})
    saver.wait()
    saver.submit(2, {"step": 2, "cannot be pickled": lambda: 0})
    saver.wait()
    assert "could not be written" in caplog.text and "step_00000001.a00.pt still stands" in caplog.text
    assert saver.last_step == 1 and [path.name for path in run.checkpoints.iterdir()] == ["step_00000001.a00.pt"]
