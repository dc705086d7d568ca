"""`launch resume`: what was typed comes back as it was, and nothing else does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from golang.config import Config, Data, Evaluation
from golang.config.identity import run_id
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.monitor import resume
from launch.monitor.resume import ResumeError
from launch.settings import Cluster
from launch.submission.submit import _settled
from launch.sweep.folder import Plan, Planned, describe

ROOT = Path(__file__).parents[2]
GOLANG = str(Path(sysconfig.get_path("scripts"), "golang").resolve())
ODD = [
    "name='it''s; $(touch canary)'",
    "optim.epochs=1,2",
    'data.root="a b"',
    "new\nline=`touch canary`",
    "a=\x1b[8m'\\ü\x9b",
]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of two runs whose last command asks for one of them."""
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "runs/mine"
    for seed in (1, 2):
        RunFolder.create(sweep / f"seed={seed}-{run_id(Config(seed=seed))}", Config(seed=seed))
    typed(sweep, str(ROOT / "run.py"), *ODD)
    return sweep


def typed(sweep: Path, *command: str) -> None:
    config = Config(seed=1)
    describe(Plan(sweep, command, (Planned(run_id(config), config, (), Cluster(), sweep / "x"),)))


def test_the_command_comes_back_word_for_word(sweep: Path, tmp_path: Path) -> None:
    read = resume.read(sweep)
    assert read.command == (str(ROOT / "run.py"), *ODD) and read.cwd == tmp_path
    said = subprocess.run(
        ["bash", "-c", read.line.replace(f"python {ROOT}/run.py", "printf '%s\\0'")], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert said.stdout.split("\0")[:-1] == ODD and not (tmp_path / "canary").exists()
    assert read.left_out() == [f"seed=2-{run_id(Config(seed=2))}"]


def test_it_is_typed_where_it_was(sweep: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """run.py itself answers: its dry run names the folder of the sweep, which it makes from its cwd."""
    typed(sweep, str(ROOT / "run.py"), "cluster=slurm", "dry_run=true", "sweep=mine", "seed=1,2")
    command = [sys.executable, "-m", "launch", "resume", "--runs-dir", "runs"]
    for where, words in ((tmp_path, []), (tmp_path, ["mine"]), (tmp_path / "runs", [str(sweep)])):
        done = subprocess.run(
            [*command, *words], cwd=where, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"cd {tmp_path} && python {ROOT}/run.py cluster=slurm dry_run=true sweep=mine")
        assert f"GOLANG_CWD={tmp_path} " in done.stdout.replace("\n", " ")
        assert f"left as they are: seed=2-{run_id(Config(seed=2))}" in done.stdout


def test_the_installed_command_comes_back_too(sweep: Path, tmp_path: Path) -> None:
    link = tmp_path / "golang"
    link.symlink_to(GOLANG)  # as tools that give each program an environment of its own make one
    for program in (GOLANG, str(link)):
        typed(sweep, program, "train", "cluster=slurm", "optim.epochs=1,2")
        read = resume.read(sweep)
        assert read.line == f"cd {tmp_path} && {program} train cluster=slurm optim.epochs=1,2"
        assert str(read.program) == GOLANG


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "has no sweep.yaml"),
        ("{", "is damaged"),
        ({"command": []}, "is damaged"),
        ({"command": "run.py"}, "is damaged"),
        ({"command": ["run.py", 1]}, "is damaged"),
        ({"runs": "a"}, "is damaged"),
        ({"cwd": "/gone"}, "/gone, where .* is gone.*From where its paths hold, type: python"),
        ({"command": ["evil.py"]}, r"typed with .*/evil.py.*type it yourself: cd .* && python evil.py"),
        (
            {"command": ["/elsewhere/golang", "train"]},
            "typed with /elsewhere/golang.*: cd .* && /elsewhere/golang train",
        ),
        ({"command": [GOLANG, "launch"]}, "typed with .*/golang, and this is .*type it yourself"),
        ({"command": [GOLANG, "train"], "cwd": "/gone"}, f"From where its paths hold, type: {GOLANG} train"),
        ({"folder": 1}, "was not written in this place.*python -m launch resume --yes"),
        ("!!python/object/apply:os.system ['touch canary']", "is damaged"),
    ],
)
def test_what_it_refuses(sweep: Path, change: object, words: str, tmp_path: Path) -> None:
    file = sweep / "sweep.yaml"
    if isinstance(change, dict):
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    elif change is None:
        file.unlink()
    else:
        file.write_text(str(change))
    with pytest.raises(ResumeError, match=f"(?s){words}"):
        resume.read(sweep)
    assert not (tmp_path / "canary").exists()


def test_a_sweep_from_elsewhere_is_shown_first(sweep: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    typed(sweep, str(ROOT / "run.py"), "cluster=slurm", "\x1b[8mcluster.setup=[touch canary]\r")
    copy = tmp_path / "runs/copy"
    shutil.copytree(sweep, copy)
    assert main(["resume", "copy"]) == 2
    said = capsys.readouterr().err
    assert r"$'\033[8mcluster.setup=[touch canary]\015'" in said and said.replace("\n", "").isprintable(), (
        "hides nothing"
    )
    assert "--yes" in said and not (tmp_path / "canary").exists()
    sweep.chmod(0o755)
    (sweep / "sweep.yaml").chmod(0o666)
    with pytest.raises(ResumeError, match="written by others"):
        resume.read(sweep)
    assert resume.read(copy, trusted=True).command[1] == "cluster=slurm"


def test_a_finished_run_without_its_probe_is_sent_again(tmp_path: Path) -> None:
    """It was killed in it; a folder of images has no labels to probe with."""
    asked, none = Evaluation(probe=True), Evaluation(probe=False)
    toy, folder = Data(name="toy"), Data(name="folder", root="photos")
    runs = []
    for number, (data, evaluation) in enumerate([(toy, asked), (toy, asked), (toy, none), (folder, asked)]):
        config = Config(data=data, evaluation=evaluation)
        runs.append(Planned(f"{number}", config, (), Cluster(), tmp_path / f"x-{number}"))
        RunFolder.create(runs[-1].folder, config).done_file.touch()
    probed = tmp_path / "x-1" / "evaluation" / "linear.json"
    probed.parent.mkdir()
    probed.write_text("{}")
    settled = dict(_settled(Plan(tmp_path, (), tuple(runs)), local=True))
    assert {id: fate.word for id, fate in settled.items()} == dict.fromkeys("123", "finished")
