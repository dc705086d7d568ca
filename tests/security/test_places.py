"""What is written stays below its sweep, is its owner's alone, and the code kept there is ours."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golang.config import Config
from golang.config.checks import check
from golang.config.identity import label, run_id
from golang.drawing import figure
from golang.engine.stops import STOP_SIGNALS
from golang.errors import ConfigError, GolangError
from golang.evaluation import features
from golang.evaluation.features import Features
from golang.evaluation.pictures.shared import save
from golang.processes import local
from golang.runfolder.folder import RunFolder
from golang.tracking.mirror import Mirror
from launch.planning.words import read
from launch.settings import Cluster
from launch.submission import submit
from launch.submission.sbatch import Script
from launch.sweep import snapshot
from launch.sweep.folder import hold
from launch.sweep.paths import folders
from tests.security.common import ROOT, SHELL, plan, planned, programs


@pytest.mark.parametrize("sweep", ["../../x", "/tmp/x", "a/b", "..", ".", "", "a\nb", "x" * 300])
def test_a_sweep_is_one_folder(sweep: str) -> None:
    with pytest.raises(ConfigError, match="must be the name of one folder"):
        check(Config.from_dict({"sweep": sweep}))
    if sweep.isprintable() and sweep:
        with pytest.raises(ConfigError, match="must be the name of one folder"):
            read([f"sweep='{sweep}'"])


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", "a/../../b", SHELL, "\n", "\x00"])
def test_a_name_leads_nowhere(tmp_path: Path, name: str) -> None:
    folder = f"{label([f'name={name}', f'seed={name}'])}-{run_id(Config(name=name))}"
    assert Path(folder).name == folder and (tmp_path / folder).resolve().parent == tmp_path
    assert not set(folder) & set("$`;'\"&|<>\n\x00/")


@pytest.mark.parametrize("part", ["checkpoints", "attempts", "logs", "evaluation", "wandb", "lock", ".", ".."])
def test_links_in_a_run_are_not_followed(tmp_path: Path, part: str) -> None:
    """To folders (or, for the lock, to a file) elsewhere; the last two are the run itself, and its sweep."""
    config, outside = Config(), tmp_path / "outside"
    sweep = tmp_path / "runs/s"
    run = sweep / f"base-{run_id(config)}"
    outside.mkdir()
    (outside / "file").write_text("mine")
    place = Path(os.path.normpath(run / part))
    place.parent.mkdir(parents=True)
    place.symlink_to(outside / "file" if part == "lock" else outside)
    with pytest.raises(GolangError, match=r"is a link to|can't lock|symbolic link|twice"):
        found = folders(sweep).get(run_id(config)) or run
        with RunFolder.create(found, config).hold():
            raise AssertionError("held through a link")
    with pytest.raises(GolangError, match=r"is a link to|can't lock|symbolic link"):
        folders(sweep)
        with hold(sweep):
            submit._write(Script(Cluster(), sweep, "n", tmp_path, 1), planned(config, run))
            RunFolder(run).hold().__enter__()
    assert [path.name for path in outside.rglob("*")] == ["file"] and (outside / "file").read_text() == "mine"


@pytest.mark.parametrize("part", ["attempts/deaths", "logs/7.0.srun", "attempts/00/.cause.tmp", "metrics.jsonl"])
def test_links_deep_in_a_run_are_not_followed(tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch script appends names of files to `deaths`: through a link, to what a shell reads when it starts."""
    programs(tmp_path / "bin", monkeypatch)
    wanted, outside = plan(tmp_path / "runs/s", [Config()]), tmp_path / "bashrc"
    folder = wanted.runs[0].folder
    outside.write_text("mine")
    (folder / part).parent.mkdir(parents=True)
    (folder / part).symlink_to(outside)
    with pytest.raises(GolangError, match="is a link to"):
        submit.submit(wanted)
    with pytest.raises(GolangError, match="is a link to"):
        RunFolder.create(folder, Config())
    assert not (folder / "job.sbatch").exists() and outside.read_text() == "mine"


def test_links_that_wandb_makes_in_its_own_folder_are_left(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", Config())
    (run.path / "wandb").mkdir()
    (run.path / "wandb/latest-run").symlink_to("run-1")
    assert RunFolder.create(run.path, Config()).config() == Config()


@pytest.mark.parametrize("part", ["code", "submissions", "ledger.jsonl", "lock"])
def test_links_in_a_sweep_are_not_followed(tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    outside, sweep = tmp_path / "outside", tmp_path / "runs/s"
    outside.mkdir()
    (outside / "file").write_text("mine")
    sweep.mkdir(parents=True)
    (sweep / part).symlink_to(outside / "file" if part in ("ledger.jsonl", "lock") else outside)
    with pytest.raises(GolangError, match=r"is a link to|can't write"):
        submit.submit(plan(sweep, [Config()]))
    assert [path.name for path in outside.rglob("*")] == ["file"] and (outside / "file").read_text() == "mine"


def test_planted_code_is_not_submitted(tmp_path: Path) -> None:
    sweep = tmp_path / "runs/s"
    taken = snapshot.take(sweep)
    assert snapshot.take(sweep) == taken
    cache = taken / "launch/__pycache__"
    cache.mkdir()
    (cache / "slurm.cpython-311.pyc").write_text("planted")
    assert snapshot.take(sweep) == taken and not cache.exists(), "Python would run it unread"
    (taken / "launch/extra.py").write_text("import os; os.system('touch canary')")
    with pytest.raises(GolangError, match="does not hold the code that it is named after"):
        snapshot.take(sweep)
    shutil.rmtree(taken)
    taken.symlink_to(ROOT)
    with pytest.raises(GolangError, match="does not hold the code"):
        snapshot.take(sweep)
    for name in ("../../evil", "", ".", "/tmp", "0123456789ab"):
        assert snapshot.kept(sweep, name) is None


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_are_private(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    before = os.umask(umask)
    try:
        sweep = tmp_path / "runs/s"
        submit.submit(plan(sweep, [Config(), Config(seed=2)]))
        alone = RunFolder.create(tmp_path / "other/s/x-0bcdef01", Config())
        alone.start_attempt(1, {}, None)
        nothing = np.zeros((1, 1), np.float32)
        features.save(alone.path / "evaluation/features.npz", Features(nothing, nothing, nothing, nothing), "")
        save(figure(1, 1), alone.path / "evaluation/curves/empty.png")
    finally:
        os.umask(before)
    private = [
        sweep, *sweep.iterdir(), *sweep.glob("code/*"), *sweep.glob("submissions/*"), *sweep.glob("*-*/*"),
        *sweep.glob("code/*/*"), alone.path.parent, alone.path, *alone.path.rglob("*"),
    ]  # fmt: skip
    open_to_others = [path for path in private if path.is_dir() and stat.S_IMODE(path.stat().st_mode) != 0o700]
    assert not open_to_others and len(private) > 20
    settings = [path for path in alone.path.rglob("*") if path.is_file() and "evaluation" not in path.parts]
    loose = [path for path in settings if path.stat().st_mode & 0o077]
    assert not loose


def test_a_snapshot_has_nothing_ignored_and_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "tree"
    for name in ("golang/sub", "golang/.docker", "golang/.kube", "launch"):
        (root / name).mkdir(parents=True)
    secrets = [
        "golang/id_ed25519.txt", "golang/.env.yaml", "golang/passwords.txt", "golang/my-service-account.json",
        "golang/kubeconfig.yaml", "golang/aws_credentials.json", "golang/sub/wandb_token.txt", "golang/server.pem",
        "launch/.netrc", "golang/API_KEY.json", "golang/api_key.py", "golang/private.key", "golang/ignored.yaml",
        "golang/.docker/config.json", "golang/.kube/config.yaml", "launch/prod.env.yaml",
    ]  # fmt: skip
    for name in [*secrets, "golang/a.py", "golang/sub/b.json"]:
        (root / name).write_text("x")
    (root / ".gitignore").write_text("ignored.yaml\n")
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    (root / "golang/link.txt").symlink_to(outside)
    (root / "golang/inner.txt").symlink_to("ignored.yaml")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "golang/a.py"], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as a checkout that a group shares is, for most of it
    taken = snapshot.take(tmp_path / "runs/s", root)
    assert sorted(str(p.relative_to(taken)) for p in taken.rglob("*") if p.is_file()) == [
        "golang/a.py",
        "golang/sub/b.json",
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python learnt to leave out the working folder in 3.11")
def test_modules_where_a_command_is_typed_are_not_imported(tmp_path: Path) -> None:
    """That may be a run's folder; or a working tree, edited while its runs use their own code."""
    for module in ("golang", "submitit", "torch"):
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        assert local._Family(tmp_path / "none", 1).wait() == 2, "there is no such run"
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    run = RunFolder.create(tmp_path / "run", Config.from_dict({"tracking": {"name": "offline"}}))
    mirror = Mirror()
    mirror.start(run.config(), attempt := run.start_attempt(1, {}, None))
    mirror.close("finished")
    assert "metrics.jsonl" in (attempt.path / "wandb.log").read_text(), "it came as far as what it reads"
    wanted = plan(tmp_path / "runs/s", [Config()], Cluster(name="local", python="true"))
    job = submit.submit(wanted)[0].job.removeprefix("local:")
    with contextlib.suppress(ChildProcessError):
        os.waitpid(int(job), 0)


def test_what_is_submitted_again_keeps_its_sweep_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this stands in the way of typing a command twice."""
    programs(tmp_path / "bin", monkeypatch)
    wanted = plan(tmp_path / "runs/s", [Config()])
    for _ in range(2):
        assert [fate.word for fate in submit.submit(wanted)] == ["submitted"]
    kept = replace(wanted, code="frozen")
    assert [fate.word for fate in submit.submit(kept)] == ["submitted"]
    overrides = wanted.runs[0].folder / "overrides.yaml"
    overrides.write_text(json.dumps(json.loads(overrides.read_text()) | {"code": "../../../evil"}))
    (tmp_path / "evil").mkdir()
    with pytest.raises(GolangError, match="is gone; leave out code=frozen"):
        submit.submit(kept)
