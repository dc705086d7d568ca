"""`launch doctor` without a cluster: disks, scripts, durations, and how findings are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from golang.runfolder.mounts import file_system
from launch.__main__ import main
from launch.doctor.examine import Patient, sbatch_options
from launch.doctor.finding import Finding, show
from launch.doctor.storage import look
from launch.settings import Cluster
from launch.slurm import duration
from launch.submission.sbatch import Script
from launch.sweep.find import find

SLURM = """#!/bin/bash
case "$*" in
  *--version) echo slurm-wlm 23.11 ;;
  *config) printf '%s = %s\\n' KillWait '30 sec' MaxArraySize 1001 PreemptType preempt/partition_prio JobRequeue 1 ;;
  *partition*) echo "PartitionName=a Default=${DEFAULT:-YES} GraceTime=0 PreemptMode=REQUEUE" ;;
esac
"""
MOUNTS = r"""21 1 8:1 / / rw - ext4 /dev/root rw
30 21 0:40 / {place}/data\040sets rw,relatime shared:1 - nfs4 server:/export rw
31 21 0:41 / {place}/scratch rw - lustre a@tcp:/x rw
32 21 0:42 / {place}/sshfs rw - fuse.sshfs me@there:/ rw
"""


def test_file_systems(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(place=tmp_path))
    expected = {"data sets/a": "nfs4", "scratch": "lustre", "scratches": "ext4", "sshfs/x": "fuse.sshfs"}
    assert {name: file_system(tmp_path / name, mounts).kind for name in expected} == expected
    assert file_system(tmp_path, tmp_path / "nowhere") == ("unknown", "", ())


def test_a_folder_is_tried(tmp_path: Path) -> None:
    found = {finding.what: finding for finding in look(tmp_path / "not/there/yet", 0, unseen=False)}
    assert found["run folder"].said.startswith("writable; 4 MiB are safe on disk after")
    assert not list(tmp_path.iterdir()), "it leaves nothing"
    found = {finding.what: finding for finding in look(tmp_path, 2**60, unseen=False)}
    assert found["room"].level == "fail" and "1,073,741,824.0 GiB" in found["room"].said
    found = {finding.what: finding for finding in look(Path("/proc"), 0, unseen=True)}
    assert found["run folder"].level == "fail" and "runs_dir=PATH" in found["run folder"].remedy
    assert found["file system"].level == "warn" and "--probe" in found["file system"].remedy


def test_what_runs_tell(tmp_path: Path) -> None:
    """The options of the newest script, the longest of the saves measured last, the room for what is to come."""
    for number, took in enumerate((2.0, 5.0, None)):
        run = RunFolder.create(tmp_path / f"runs/s/x-{number}bcdef01", Config(seed=number))
        (run.checkpoints / "step_00000010.a00.pt").write_bytes(bytes(100))
        run.start_attempt(1, {}, None).write_status("running", 1, 2, save_seconds=took)
    cluster = Cluster(name="slurm", partition="a,b", constraint='x "y"', exclusive=True)
    (run.path / "job.sbatch").write_text(Script(cluster, tmp_path, "n", tmp_path, 77).for_run(run.path, "s"))
    patient = Patient.of(find("s", tmp_path / "runs"), tmp_path / "runs")
    assert patient.save == 5.0 and patient.needed == 3 * 3 * 100 and patient.minutes == 10
    told = {"partition": "a,b", "constraint": 'x "y"', "exclusive": "true", "signal": "USR2@77"}
    assert told.items() <= patient.options.items() == sbatch_options(run.path / "job.sbatch").items()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30 sec", 30), ("90", 90), ("00:01:30", 90), ("1-00:00:01", 86401), ("UNLIMITED", 0), ("", 0)],
)
def test_slurms_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_how_findings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("ok", "a", "fine [red]"), Finding("warn", "b", "hm", "do this")]
    assert show(findings, as_json=False) == 0
    assert capsys.readouterr().out == "ok    a: fine [red]\nwarn  b: hm → do this\n1 ok, 1 warn\n"
    assert show([*findings, Finding("fail", "c", "bad")], as_json=True) == 1
    assert [line["level"] for line in json.loads(capsys.readouterr().out)] == ["ok", "warn", "fail"]


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor", "--runs-dir", str(tmp_path / "runs"), "--probe"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("fail  slurm: no Slurm on this machine") and "cluster=local" in said and "ok    room" in said


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slurm that answers what doctor asks."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/scontrol").write_text(SLURM)
    (tmp_path / "bin/scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "1e308", "1" + "0" * 400, "-5", '"x"', "[]", "{}", "null", "true"])
def test_damaged_files_are_no_reason_to_fail(slurm: None, odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the commands that look after runs, none ends in a traceback, and doctor says all that it can."""
    run = RunFolder.create(Path("runs/s/x-0bcdef01"), Config())
    attempt = run.start_attempt(1, {}, None)
    keys = ("state", "step", "total", "save_seconds", "loss", "mAP", "updated", "cause", "message", "at", "host")
    for name in ("status.json", "cause.json"):
        (attempt.path / name).write_text("{" + ", ".join(f'"{key}": {odd}' for key in keys) + "}")
    run.metrics_file.write_text(f'{{"step": 5, "loss": {odd}, "step_seconds": {odd}}}\n{{"step": {odd}}}\n')
    for settings in (f'{{"checkpoint": {odd}}}', f'{{"checkpoint": {{"keep_last": {odd}, "every_minutes": {odd}}}}}'):
        run.config_file.write_text(settings)
        (run.path / "job.sbatch").write_text('#!/bin/bash\n#SBATCH --constraint="a\n#SBATCH --signal=USR2@5\n')
        (run.checkpoints / "step_00000010.a00.pt").write_bytes(bytes(100))
        for command in (["status"], ["status", "--json"], ["report", "s"], ["doctor", "s"]):
            assert main(command) in (0, 1)
    assert "save time" in capsys.readouterr().out
    stamps = ("0001-01-01T00:00:00+1200", "9999-12-31T23:59:59-1200")
    (attempt.path / "start.json").write_text(json.dumps({"started": stamps[0]}))
    (attempt.path / "cause.json").write_text(json.dumps({"cause": "\udcff", "at": stamps[1], "message": "\udcff"}))
    assert main(["report", "s"]) == main(["status"]) == 0


def test_without_a_default_partition_it_asks_for_one(
    slurm: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor"])
    assert "preemption in a: PreemptMode=REQUEUE, GraceTime=0 s" in capsys.readouterr().out
    monkeypatch.setenv("DEFAULT", "NO")
    main(["doctor"])
    assert "no partition is Slurm's default" in capsys.readouterr().out
    main(["doctor", "--partition=a"])
    said = capsys.readouterr().out
    assert "preemption in a: PreemptMode=REQUEUE" in said and "no partition" not in said


def test_a_reader_that_has_enough_gets_no_traceback(tmp_path: Path) -> None:
    """As in `python -m launch doctor | head -1`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "launch", "doctor", f"--runs-dir={tmp_path}"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
