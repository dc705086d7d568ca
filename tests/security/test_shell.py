"""Settings reach no shell. `cluster.setup` and `cluster.python` are shell by design, and only they."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from golang.config import Config
from golang.errors import ConfigError
from launch.settings import Cluster, Launch
from launch.submission import submit
from launch.submission.sbatch import Script
from launch.sweep import ledger
from tests.cli import command
from tests.security.common import ROOT, SHELL, plan, programs


def run_script(file: Path, **told: str) -> list[str]:
    """Runs it as Slurm would; what srun was called with."""
    called = Path(os.environ["PATH"].split(":")[0]) / "called"
    called.unlink(missing_ok=True)
    environment = os.environ | {"SLURM_JOB_ID": "7"} | told
    subprocess.run(["bash", str(file)], env=environment, capture_output=True, check=False)
    words = called.read_bytes().decode().split("\0")
    return words[words.index("srun") : words.index("scontrol")]


def test_shell_characters_in_paths_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    cwd = tmp_path / f"here {SHELL}"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    sweep = cwd / f"runs {SHELL}" / f"sweep {SHELL}"
    configs = [Config.from_dict({"name": SHELL, "seed": s, "data": {"root": SHELL}, "sweep": SHELL}) for s in (1, 2)]
    submit.submit(plan(sweep, configs))
    for run in plan(sweep, configs).runs:
        assert run_script(run.folder / "job.sbatch")[-1] == str(run.folder)
    (script,) = sweep.glob("submissions/*/job.sbatch")
    assert run_script(script, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="1")[-1] == str(run.folder)
    here = Script(Cluster(name="local", python="true"), sweep, SHELL, cwd, 9).here(sweep, SHELL)
    (tmp_path / "here.sh").write_text(here)
    subprocess.run(["bash", str(tmp_path / "here.sh")], check=True, capture_output=True, cwd=tmp_path)
    assert not list(cwd.rglob("canary"))


def test_the_batch_script_writes_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the path that it names in them, and whatever a task said last."""
    programs(tmp_path / "bin", monkeypatch)
    (tmp_path / "bin/srun").write_text("#!/bin/bash\nexit 9\n")
    (tmp_path / "bin/scontrol").write_text("#!/bin/bash\necho JobId=7 JobState=RUNNING Restarts=0\n")
    sweep = tmp_path / "a\"b 'c" / "s"
    (run,) = plan(sweep, [Config()], Cluster(name="slurm", max_retries=0)).runs
    submit.submit(plan(sweep, [Config()], run.cluster))
    for job, said in (("7", None), ("8", 'KeyError: "a\\b"\n\t\x1b[2J')):
        if said is not None:
            (run.folder / f"attempts/final.{job}.0").write_text(said)
        called = ["bash", str(run.folder / "job.sbatch")]
        subprocess.run(called, env=os.environ | {"SLURM_JOB_ID": job}, capture_output=True, check=False)
        line = ledger.read(sweep)[-1]
        assert (line["event"], line["job"]) == ("failed", job) and line["reason"].isprintable()
    assert not ledger.damaged(sweep) and "KeyError: ab" in line["reason"]


TEXTS = [name for name, kind in Cluster.__annotations__.items() if kind == "str | None" and name != "python"]


def cluster_with(name: str, value: str) -> Cluster:
    """That setting with that value, as it passes the launcher's own checks."""
    values: dict[str, object] = {
        "env": {"ODD": value}, "extra": {"mail-user": value}, "container": [value, f"--image={value}"]
    }  # fmt: skip
    return Launch.from_dict({"cluster": {"name": "slurm", "nodes": 2, name: values.get(name, value)}}).cluster


@pytest.mark.parametrize("name", [*TEXTS, "env", "extra", "container"])
def test_shell_characters_in_cluster_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    for value in (SHELL, f"a\n{SHELL}", f"a\r{SHELL}", 'a" \n#SBATCH --wrap="touch canary', "-x --wrap=touch\\ canary"):
        try:
            cluster = cluster_with(name, value)
        except ConfigError:
            assert name in (*TEXTS, "extra") and (
                not value.isprintable() or name in ("time", "gpus_per_node", "gpus_per_task")
            )
            continue
        sweep = tmp_path / "runs/s"
        text = Script(cluster, ROOT, "n", tmp_path, 9).for_run(sweep / "x-0bcdef01", "s")
        options, _, _ = text.removeprefix("#!/bin/bash\n").partition("\n\n")
        assert all(line.startswith("#SBATCH --") for line in options.split("\n")), options
        (tmp_path / "job").write_text(text)
        words = run_script(tmp_path / "job")
        assert words[-1] == str(sweep / "x-0bcdef01")
        if name == "container":
            assert value in words and f"--image={value}" in words
        shutil.rmtree(sweep)


def test_setup_and_python_are_shell_by_design(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    cluster = Cluster(name="slurm", setup=[f"touch {tmp_path}/wanted"], python="env A=$((1 + 1)) python")
    (tmp_path / "job").write_text(Script(cluster, ROOT, "n", tmp_path, 9).for_run(tmp_path / "s/x-0bcdef01", "s"))
    assert "A=2" in run_script(tmp_path / "job") and (tmp_path / "wanted").exists()


def test_a_line_break_in_a_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"runs_dir=.* must be one line"):
        Launch.from_dict({"runs_dir": "a\ntouch canary\n"})
    folder = tmp_path / "a\ntouch canary\n"
    folder.mkdir()
    for script in ((tmp_path, folder), (folder, tmp_path)):
        with pytest.raises(ConfigError, match="has a line break"):
            Script(Cluster(), script[0], "n", script[1], 9)


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff")
    folder.mkdir()
    code, output = command.run(folder, [str(ROOT / "run.py"), "cluster=local"])
    assert code == 2 and re.search(r"a\\udcff.* is no UTF-8; work from another folder", output), output
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["10%data", "%%", "a\\b"])
def test_a_path_that_slurm_would_not_keep_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job could not open its log, and would die without a word."""
    programs(tmp_path / "bin", monkeypatch)
    with pytest.raises(ConfigError, match="choose another place"):
        submit.submit(plan(tmp_path / name, [Config()]))
    assert "sbatch" not in (tmp_path / "bin/called").read_text()
    for folder, cluster in ((name, Cluster(name="local")), ("100%", Cluster(name="slurm"))):
        script = Script(cluster, ROOT, "n", tmp_path, 9)
        assert f"{folder}/x/logs/%j" in script.for_run(tmp_path / folder / "x", "s").replace("\\\\", "\\")
