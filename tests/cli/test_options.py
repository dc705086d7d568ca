"""Options of run.py beside its settings, in this process where that is enough; and what a command costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import hydra
import pytest
import yaml

from golang.config import Config, Toy, checks
from golang.data import sets
from golang.data.toy.write import write
from golang.world import World
from launch.planning.app import main
from launch.settings import Launch
from tests.cli.command import ROOT, command, run_here

COUNTED = {
    hydra.compose.__code__: "composed", checks.check.__code__: "settings checked",
    World.read.__func__.__code__: "world read", sets.check_root.__code__: "images looked for",
}  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    """What `python run.py WORDS` says."""
    assert main(["run.py", *words]) == status
    out, err = capsys.readouterr()
    assert not err
    return out


def test_a_run_here_is_composed_and_checked_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def look(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code in COUNTED:
            calls[COUNTED[frame.f_code]] += 1

    root = write(tmp_path / "data", Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)
    typed = command(root, "optim.epochs=2", "data.workers=0", "optim.warmup_epochs=0")
    before = sys.getprofile()
    sys.setprofile(look)
    try:
        code, output = run_here(tmp_path, typed, capsys, monkeypatch)
    finally:
        sys.setprofile(before)
    assert code == 0 and "finished: 10 steps" in output, output
    assert calls == dict.fromkeys(COUNTED.values(), 1)


def test_the_settings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    shown = yaml.safe_load(said(capsys, "--cfg", "job", "optim.epochs=7", "sweep=mine", "cluster=slurm"))
    assert shown["optim"]["epochs"] == 7 and shown["sweep"] == "mine" and shown["cluster"]["name"] == "slurm"
    assert shown.keys() == Config().to_dict().keys() | vars(Launch()).keys()
    assert said(capsys, "-c", "job", "-p", "data.toy", "data.toy.seed=3").startswith("# @package data.toy\nclasses: 20")
    assert said(capsys, "--cfg", "job", "-p", "optim.epochs", "optim.epochs=9") == "9\n"
    name = ["--cfg=job", "name=run-${seed}", "seed=4", "--package", "_global_"]
    assert "\nseed: 4\n" in said(capsys, *name) and "name: run-${seed}\n" in said(capsys, *name)
    assert "name: run-4\n" in said(capsys, *name, "--resolve")
    shown = yaml.safe_load(said(capsys, "--cfg", "hydra", "sweep=standard", "cluster=slurm"))
    assert shown.keys() == {"hydra"} and shown["hydra"]["runtime"]["choices"]["sweep"] == "standard"
    assert shown["hydra"]["sweeper"]["params"]["queue.start_epoch"] == "7,15"
    shown = yaml.safe_load(said(capsys, "--cfg", "all", "hydra.job.name=x"))
    assert shown["hydra"]["job"]["name"] == "x" and shown["optim"]["epochs"] == 3
    assert "seed: 5\n" in said(capsys, "-m", "seed=5", "--multirun", "--cfg", "job", "-r", "name=x"), (
        "needless, but taken"
    )


@pytest.mark.parametrize("option", ["--help", "-h", "--hydra-help"])
def test_help(capsys: pytest.CaptureFixture[str], option: str) -> None:
    for typed in (option, "--version"):
        with pytest.raises(SystemExit) as left:
            main(["run.py", "optim.epochs=7", typed])
        assert left.value.code == 0
    text = capsys.readouterr().out
    assert "--cfg {job,hydra,all}" in text and "  cluster=local|none|slurm\n" in text and "--cfg job lists" in text
    assert re.search(r"^Hydra \d", text, re.MULTILINE)


def test_a_folder_of_settings_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own/sweep").mkdir(parents=True)
    text = "# @package _global_\nhydra: {sweeper: {params: {seed: '5,6', optim.epochs: 'range(1,4)'}}}\n"
    (tmp_path / "own/sweep/seeds.yaml").write_text(text)
    grid = ["--config-dir", "own", "sweep=seeds", "cluster=local", "dry_run=true"]
    assert "6 runs for" in said(capsys, *grid) and "2 runs for" in said(capsys, "optim.epochs=2", *grid)
    (tmp_path / "own/sweep/seeds.yaml").write_text("seed: [")
    assert "own/sweep/seeds.yaml" in said(capsys, *grid, status=2)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("optim.epochs 5", r"optim\.epochs 5: a setting is typed as KEY=VALUE: optim\.epochs=5"),
        ("optim.epochs=2 queue.length", r"queue\.length: a setting is typed as KEY=VALUE: queue\.length=…"),
        ("experiment coco2014", r"experiment coco2014: a setting is typed as KEY=VALUE: experiment=coco2014"),
        ("queue.lenght", r"queue\.lenght: a setting is typed as KEY=VALUE — did you mean queue\.length\?"),
        ("tracking.api_key 1234", r"looks like a secret"),
        ("--hepl", r"--hepl is no option — did you mean --help\?"),
        ("--optim.epochs=5", r"no option; a setting is typed without dashes: optim\.epochs=5"),
        ("--cfg jobs", r"invalid choice: 'jobs' .*; --help lists the options"),
        ("--cfg job -p optm", r"--package=optm: there is no such section — did you mean optim\?"),
        ("--cfg job cluster=slurm seed=1,2", r"--cfg shows one run, and seed=1,2 is a grid; give one value"),
        ("--resolve", r"--resolve goes with --cfg"),
        ("--info defaults", r"--info is Hydra's; here --cfg job shows the settings"),
        ("--config-dir nowhere", r"--config-dir=nowhere is no folder"),
        ("-sc install=csh", r"-sc takes install=SHELL, uninstall=SHELL or query=SHELL; SHELL is bash, fish, zsh"),
        ("name=${nope}", r"name: Interpolation key 'nope' not found"),
        ("name=${oc.env:NOPE}", r"name: .*Environment variable 'NOPE' not found"),
        ("name=???", r"name: Missing mandatory value"),
        ("name=a[b", r"can't read 'name=a\[b': .*; quote odd text twice"),
        ("optim@x=demo", r"Could not override 'optim@x'. Did you mean to override optim\?"),
        ("hydra.nope=1", r"Could not override 'hydra\.nope'"),
        ("model=5", r"model=5: there is no such model; choose one of resnet101"),
        ("data=null", r"data=null: there is no such data; choose one of coco, coco2014"),
        ("runs_dir=choice(a,b) cluster=slurm", r"runs_dir=choice\(a,b\): runs_dir is the same for all runs"),
        ("hydra.verbose=true,false cluster=slurm", r"hydra\.verbose is the same for all runs of a command"),
        ("experiment=demo,coco2014 cluster=local", r"a command fills one sweep, this one would fill demo, coco2014"),
        ("cluster=slurm cluster.nodes=0", r"cluster\.nodes=0 must be at least 1"),
        ("dry_run=true", r"dry_run=true shows what would be submitted, and cluster=none submits nothing"),
        ("checkpoint=run.pt data=toy", r"checkpoint=\S*run\.pt is to be evaluated; say how: evaluation=linear_coco"),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.pt").touch()
    text = said(capsys, *typed.split(), status=2)
    assert re.search(message, text) and len(text.splitlines()) == 1 and "1234" not in text.replace("key 1234", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_sweep_may_be_named_by_a_year(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"1 runs for {tmp_path}/runs/2026\n" in said(capsys, "sweep=2026", "cluster=local", "dry_run=true")


COMPLETE = """
eval "$(python run.py -sc install=bash)"
for COMP_LINE in "$@"; do
    export COMP_LINE; words=($COMP_LINE); COMP_CWORD=$((${#words[@]} - 1)); COMP_POINT=${#COMP_LINE}; COMPREPLY=()
    hydra_bash_completion; echo "${COMPREPLY[@]}"
done
"""


def completions(*lines: str) -> list[str]:
    """What Bash would offer at the end of each line, after the `eval` that --help names."""
    around = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    typed = ["bash", "-c", COMPLETE, "bash", *lines]
    done = subprocess.run(typed, cwd=ROOT, env=around, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.splitlines()


def test_bash_completes_keys_and_groups() -> None:
    offered = {
        "python run.py optim.ep": "optim.epochs=",
        "python run.py sweep=mine cluster=slurm cluster.par": "cluster.parallelism= cluster.partition=",
        "python run.py tracking=": "tracking=none tracking=offline tracking=wandb",
        "python run.py exper": "experiment=",
        "python run.py cluster=nowhere seed": "",
    }
    assert dict(zip(offered, completions(*offered), strict=True)) == offered


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_shells_ask_for_completions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    assert "-sc query=" in said(capsys, "-sc", f"install={shell}")
    assert said(capsys, "--shell-completion", f"uninstall={shell}")
    monkeypatch.setenv("COMP_LINE", "python run.py queue.len")
    assert said(capsys, "-sc", f"query={shell}") == "queue.length=\n"
    assert "@hydra.main" in (ROOT / "run.py").read_text(), "fish looks for it"
