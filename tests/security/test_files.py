"""Files that others may have written run no code: checkpoints, settings, ledgers, metrics, statuses."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from golang.config import Config
from golang.config.identity import run_id
from golang.errors import CheckpointError, ConfigError
from golang.evaluation import features
from golang.method.model import build_model
from golang.processes.train import train
from golang.runfolder.checkpoints import find
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import MetricsLog, read_metrics
from golang.weights import layouts as weights
from golang.weights.__main__ import main as convert
from golang.weights.sealed import read
from launch.__main__ import main
from launch.node import entry
from launch.submission import submit
from launch.sweep import here, ledger
from launch.sweep.find import find_one
from tests.resume.harness import settings
from tests.security.common import ROOT, plan, programs

TAG = "!!python/object/apply:os.system ['touch canary']\n"


class Evil:
    """What an unpickler would turn into a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch canary",)


def sealed(content: object, path: Path) -> None:
    """As a run writes it, seal included."""
    torch.save(content, path)
    data = path.read_bytes()
    archive = data[:-2] + len(b"sha256:" + b"0" * 64).to_bytes(2, "little")
    path.write_bytes(archive + b"sha256:" + hashlib.sha256(archive).hexdigest().encode())


def with_a_command(config: Config, where: str) -> object:
    """A network's state with a command in it."""
    state = {"module." + k.removeprefix("trunk."): v for k, v in build_model(config).state_dict().items()}
    return {
        "tensor": {**state, "module.evil": Evil()},
        "beside": {"state_dict": state, "epoch": Evil()},
        "bare": Evil(),
    }[where]


@pytest.mark.parametrize("where", ["tensor", "beside", "bare"])
def test_a_planted_pickle_is_not_run(tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(tmp_path / "toy")
    plain, own, odd = tmp_path / "published.pth.tar", tmp_path / "own.pt", tmp_path / "bare.pkl"
    torch.save(with_a_command(config, where), plain)
    sealed(with_a_command(config, where), own)
    odd.write_bytes(pickle.dumps(with_a_command(config, where)))
    torch.load(plain, weights_only=False)
    (tmp_path / "canary").unlink()  # so it is a real one
    for path in (plain, own, odd):
        with pytest.raises(CheckpointError, match=r"not loaded for safety|is damaged"):
            weights.load_into(build_model(config), path)  # model.init
        assert convert([str(path), str(tmp_path / "out.pt")]) == 2
        assert not (tmp_path / "out.pt").exists()
    assert "for safety" in capsys.readouterr().out


def test_a_run_does_not_continue_from_a_planted_pickle(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", settings(tmp_path / "toy"))
    run.start_attempt(1, {}, None)
    planted = run.checkpoints / "step_00000010.a00.pt"
    sealed({"model": Evil()}, planted)
    assert find(run.path) == planted, "its seal holds"
    with pytest.raises(CheckpointError, match="not loaded for safety"):
        read(planted)
    with pytest.raises(CheckpointError, match="not loaded for safety"):
        train(run.config(), run.path, show_progress=False)
    assert not run.metrics_file.exists() or not run.metrics_file.read_text()


def test_kept_features_are_no_pickles(tmp_path: Path) -> None:
    path, evil = tmp_path / "features.npz", np.array(Evil(), dtype=object)
    for planted in ({"origin": evil}, {"origin": np.array("x"), "train": evil}):
        np.savez(path, **planted)
        assert features.load(path, "x") is None
    path.write_bytes(pickle.dumps(Evil()))
    assert features.load(path, "x") is None


def test_sync_writes_through_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder.create(tmp_path / "runs/s/x-0bcdef01", Config())
    run.metrics_file.write_text('{"step": 1, "loss": 1.0}\n')
    kept = tmp_path / "outside/clean-pretrain/mine"
    kept.mkdir(parents=True)
    (run.path / "wandb").symlink_to(tmp_path / "outside")
    assert main(["sync", "s", "--offline"]) == 1 and "is a link to" in capsys.readouterr().err
    assert kept.exists() and len(list((tmp_path / "outside").rglob("*"))) == 2


@pytest.mark.parametrize(
    "text", [TAG, f"seed: {TAG}", f'{{"seed": {TAG.strip()}}}', "!!python/name:os.system", "a: &x *x"]
)
def test_yaml_tags_are_no_settings(tmp_path: Path, text: str) -> None:
    """config.yaml is read as JSON, which has no tags."""
    yaml.unsafe_load(TAG)
    (tmp_path / "canary").unlink()  # so it is a real one
    run = RunFolder.create(tmp_path / "runs/s/x-0bcdef01", Config())
    for name in ("config.yaml", "overrides.yaml"):
        (run.path / name).write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        run.config()
    assert entry.main(str(run.path)) == 2
    assert main(["status"]) == main(["report", "s"]) == 0


@pytest.mark.parametrize(
    "line",
    [
        TAG, '{"event": "submitted", "folder": {}, "job": "1"}',
        '{"event": "submitted", "folder": "x-0bcdef01", "job": 7}',
        '{"event": "submitted", "folder": "../../x", "job": "--user=root", "time": "$(touch canary)"}',
        '{"event": "submitted", "folder": "x-0bcdef01", "job": "--me;touch canary"}',
        '{"event": "failed", "folder": "x-0bcdef01", "job": "", "reason": "[/red] [link=file:///x] \\u001b[2J"}',
        '{"event": "intent", "folder": "x-0bcdef01", "submission": "../../..", "at": "soon"}', "[" * 5000,
    ],
)  # fmt: skip
def test_a_hostile_ledger_line(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    run = RunFolder.create(tmp_path / "runs/s/x-0bcdef01", Config())
    (run.path.parent / "ledger.jsonl").write_text(line + "\n")
    assert main(["status"]) == main(["report", "s"]) == main(["cancel", "s", "--yes"]) == 0
    config = Config(seed=3)
    submit.submit(plan(tmp_path / "runs/s", [config]))
    assert [found["job"] for found in ledger.read(tmp_path / "runs/s") if found["run"] == run_id(config)][-1] == "7"
    assert "scancel" not in (tmp_path / "bin/called").read_text()


@pytest.mark.parametrize("words", ["status s", "report s", "doctor s", "resume --yes s", "logs a6cec0e8"])
def test_no_command_waits_for_a_planted_pipe(tmp_path: Path, words: str) -> None:
    run = RunFolder.create(tmp_path / "runs/s/x-a6cec0e8", Config())
    RunFolder.create(tmp_path / "runs/s/y-b6cec0e8", Config())
    attempt = run.start_attempt(1, {}, None)
    run.config_file.unlink()
    names = ("status.json", "cause.json", "start.json", "rank0.log")
    pipes = [run.config_file, run.metrics_file, run.path / "job.sbatch", run.path / "overrides.yaml",
             tmp_path / "runs/s/ledger.jsonl", *(attempt.path / name for name in names)]  # fmt: skip
    for pipe in pipes:
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    done = subprocess.run(
        [sys.executable, "-m", "launch", *words.split()], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1, 2) and "Traceback" not in done.stderr, done.stderr


def test_hostile_metrics(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{TAG}{{"step": "1"}}\n{{"step": {{}}}}\n{{"step": true}}\n[1]\n{{"step": 5}}\n{{"step": 9}}\n')
    assert [line["step"] for line in read_metrics(file)] == [5, 9]
    MetricsLog(file, 5).close()
    assert file.read_text() == '{"step": 5}\n'


def test_a_hostile_status(tmp_path: Path) -> None:
    """Its process id may be anyone's: only the process that holds the run is told to stop."""
    run = RunFolder.create(tmp_path / "runs/s/x-0bcdef01", Config())
    attempt = run.start_attempt(1, {}, None)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        import socket

        with run.hold():
            for pid in (bystander.pid, -1, 0, "1", None, 2**40):
                attempt.write_status("running", 1, 2, host=socket.gethostname(), pid=pid)
                assert not here.stop(find_one("0bcdef01", Path("runs")))
            assert bystander.poll() is None
            attempt.write_status("running", "$(x)", [], loss={}, host=1, pid={})  # type: ignore[arg-type]
            assert main(["status"]) == 0
    finally:
        bystander.kill()
        bystander.wait()
