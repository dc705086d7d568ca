"""The launcher's parts, without a cluster: settings, scripts, verdicts, rendezvous, snapshots, ledger."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from golang.errors import ConfigError
from launch.node.entry import Task
from launch.node.requeue import Verdict, decide, job_id
from launch.settings import Cluster, Launch, seconds
from launch.slurm import environment
from launch.submission.executors import Call, send_to_slurm
from launch.submission.sbatch import Script, lead_time
from launch.sweep import ledger, snapshot
from launch.sweep.paths import Submission

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("job.sbatch")


# -- settings ------------------------------------------------------------------------


def test_slurms_values_may_be_numbers_and_lists() -> None:
    values = {"name": "slurm", "time": 90, "exclude": ["n1", "n[3-5]"], "gpus_per_node": 4, "env": {"N": 1}, "mem": 0}
    cluster = Launch.from_dict({"cluster": values}).cluster
    assert (cluster.time, cluster.exclude, cluster.gpus_per_node) == ("90", "n1,n[3-5]", "4")
    assert cluster.tasks == 4 and cluster.env == {"N": "1"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"partion": "x"}, r"unknown setting cluster.partion='x'.*did you mean cluster.partition"),
        ({"nodes": 0}, r"cluster.nodes=0 must be at least 1"),
        ({"time": "soon"}, r"cluster.time='soon' is no time limit"),
        ({"partition": "a\n#SBATCH --uid=0"}, r"must be one line"),
        ({"extra": {"array": "0-3"}}, r"launcher sets --array itself; see cluster.parallelism"),
        ({"extra": {"x y": "1"}}, r"write the option as sbatch has it"),
        ({"env": {"A-B": "1"}}, r"no name for an environment variable"),
        ({"gpus_per_node": "many"}, r"number of GPUs"),
        ({"setup": {"a": 1}}, r"must be a list"),
        ({"name": "local", "nodes": 2}, r"this machine alone"),
    ],
)
def test_wrong_cluster_settings(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Launch.from_dict({"cluster": values})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 300), ("1:30", 90), ("2:00:05", 7205), ("1-2", 93600), ("1-02:03", 93780), ("1-00:00:01", 86401)],
)
def test_time_limits(text: str, expected: int) -> None:
    assert seconds(text) == expected


def test_the_lead_is_measured_and_fits_the_limit() -> None:
    assert lead_time(Cluster(), None) == 120
    assert lead_time(Cluster(), 30.0) == 180
    assert lead_time(Cluster(lead=33), 30.0) == 33
    assert lead_time(Cluster(time="2"), None) == 60


# -- scripts -------------------------------------------------------------------------


def script() -> Script:
    cluster = Cluster(
        name="slurm", partition="gpu", account="lab", qos="long", time="1-00:00:00", nodes=4, gpus_per_node="a100:4",
        cpus_per_task=12, mem="120G", constraint="a100&nvlink", exclude="n[1-3,7]", python="python", parallelism=8,
        setup=("module load cuda/12.4", "source ~/venv/bin/activate"),
        env={"NCCL_DEBUG": "WARN", "NOTE": "it's $HOME"}, container=("--container-image=a b.sqsh",),
        extra={"mail-type": "END", "hold": "true", "reservation": 'my "res"'},
    )  # fmt: skip
    return Script(cluster, Path("/runs/grid/code/0123456789ab"), "golang-grid", Path("/home/me"), 120)


def test_the_golden_batch_script() -> None:
    text = script().for_run(Path("/runs/grid/epochs=100-a6cec0e8"), "run-a6cec0e8-00000000")
    if os.environ.get("GOLANG_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_an_arrays_script_differs_in_where_its_run_is() -> None:
    single = script().for_run(Path("/runs/grid/x-a6cec0e8"), "s").splitlines()
    array = script().for_array(Submission(Path("/runs/grid/submissions/s")), 5).splitlines()
    differing = [line for line in array if line not in single and not line.startswith("OPTIONS=")]
    assert differing == [
        "#SBATCH --array=0-4%5",
        "#SBATCH --output=/runs/grid/submissions/s/%A_%a.log",
        'RUN_DIR=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" /runs/grid/submissions/s/runs)',
    ]
    assert "%" not in next(
        line
        for line in Script(replace(script().cluster, parallelism=None), *list(vars(script()).values())[1:])
        .for_array(Submission(Path("/s")), 5)
        .splitlines()
        if "--array" in line
    )


def test_the_environment_hides_a_surrounding_job() -> None:
    around = {"SLURM_JOB_ID": "3", "SLURM_CONF": "/c", "SBATCH_PARTITION": "p", "SBATCH_TIMELIMIT": "1", "HOME": "/h"}
    assert environment(around, ["partition", "time"]) == {"SLURM_CONF": "/c", "HOME": "/h"}
    assert "SBATCH_PARTITION" in environment(around, ["time"])
    assert environment({"SBATCH_NO_REQUEUE": "1", "SBATCH_REQUEUE": "1"}, ["requeue"]) == {}


# -- verdicts ------------------------------------------------------------------------

RECORDS = [
    ("JobState=RUNNING Restarts=0 PreemptTime=None EndTime=2030-01-01T00:00:00", 0, Verdict.REQUEUE),
    ("JobState=RUNNING Restarts=2 PreemptTime=2026-01-01T00:00:00 EndTime=Unknown", 2, Verdict.REQUEUE),
    ("JobState=COMPLETING Restarts=1 PreemptTime=None EndTime=Unknown", 0, Verdict.ALREADY),
    ("JobState=COMPLETING Restarts=3 EndTime=Unknown", 2, Verdict.ALREADY),
    ("JobState=PENDING Restarts=1 EndTime=Unknown", 0, Verdict.ALREADY),
    ("JobState=COMPLETING Restarts=0 EndTime=2026-01-01T00:00:00", 0, Verdict.ENDED),
    ("JobState=COMPLETING Restarts=2 EndTime=2026-01-01T00:00:00", 2, Verdict.ENDED),
    ("JobState=CANCELLED Restarts=0 EndTime=2026-01-01T00:00:00", 0, Verdict.ENDED),
    ("JobState=PREEMPTED Restarts=0 EndTime=2026-01-01T00:00:00", 0, Verdict.REQUEUE),
    ("JobState=TIMEOUT Restarts=0 EndTime=2026-01-01T00:00:00", 0, Verdict.REQUEUE),
    ("JobState=COMPLETING Reason=TimeLimit Restarts=0 EndTime=2026-01-01T00:00:00", 0, Verdict.REQUEUE),
    ("JobState=COMPLETING Reason=TimeLimit Restarts=1 EndTime=Unknown", 0, Verdict.ALREADY),
]


@pytest.mark.parametrize(("record", "restarts", "verdict"), RECORDS)
def test_verdicts_of_the_task_and_of_the_batch_script_agree(
    record: str, restarts: int, verdict: Verdict, tmp_path: Path
) -> None:
    assert decide(dict(field.split("=", 1) for field in record.split()), restarts) is verdict
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho JobId=7 {record} Partition=low\n")
    scontrol.chmod(0o755)
    code = f"RUN_DIR={tmp_path}; . {ROOT}/launch/node/job.sh; trap - EXIT; _ask; _verdict"
    told = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(["bash", "-c", code], env=told, capture_output=True, text=True, check=True).stdout
    assert said.strip() == verdict.value


def test_the_batch_script_gives_up_after_its_retries(tmp_path: Path) -> None:
    """Deaths in a row with nothing newly saved count; a new checkpoint starts the count anew."""
    run = tmp_path / "sweep" / "x-a6cec0e8"
    for part in ("checkpoints", "attempts"):
        (run / part).mkdir(parents=True)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\n[ "$1" = requeue ] && echo again >> {tmp_path}/requeued\n'
                        "echo JobId=7 JobState=RUNNING Restarts=${SLURM_RESTART_COUNT:-0} Partition=low\n")  # fmt: skip
    scontrol.chmod(0o755)

    def die(restarts: int) -> int:
        code = (
            f"RUN_DIR={shlex.quote(str(run))} MAX_RETRIES=2 RESTARTS_IN_PLACE=0 GOLANG_SUBMISSION=s; "
            f". {ROOT}/launch/node/job.sh; run_tasks sh -c 'exit 137'"
        )
        told = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-c", code], env=told, capture_output=True, check=False).returncode

    assert [die(0), die(1)] == [137, 137]
    (run / "checkpoints/step_00000010.a01.pt").touch()
    assert [die(2), die(3), die(4)] == [137] * 3
    lines = ledger.read(run.parent)
    assert [line["event"] for line in lines] == ["requeued"] * 4 + ["failed"]
    assert "3 times in a row" in lines[-1]["reason"]
    assert (tmp_path / "requeued").read_text().count("again") == 4


def test_an_arrays_element_is_named_by_array_and_index() -> None:
    assert job_id({"SLURM_JOB_ID": "9"}) == "9"
    assert job_id({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}) == "7_2"


# -- what is kept ------------------------------------------------------------------------


def test_the_pickle_holds_a_path_and_nothing_else() -> None:
    data = pickle.dumps(Call(snapshot.layout(Path("/code")).call, "/runs/x-a6cec0e8"))
    assert len(data) < 200 and b"launch.node.entry" in data and pickle.loads(data) == Task("/runs/x-a6cec0e8")
    assert Task("/a").checkpoint().function == Task("/a")


@pytest.mark.parametrize(("runs", "jobs"), [(1, ["77"]), (2, ["77_0", "77_1"])])
def test_submitit_keeps_what_it_sent(
    runs: int, jobs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own protocol: a pickle for each job, under the name that the job looks for."""
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 77\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    submission = Submission(tmp_path / "submissions" / "0123456789ab")
    folders = [tmp_path / f"x-a6cec0e{number}" for number in range(runs)]
    submission.make(folders)
    with (tmp_path / "lock").open("w") as lock:
        assert send_to_slurm(script(), submission, folders, lock.fileno()) == jobs
    for job, folder in zip(jobs, folders, strict=True):
        delayed = pickle.loads((submission.path / f"{job}_submitted.pkl").read_bytes())
        assert delayed.function == Task(str(folder))


def test_a_snapshot_has_code_and_no_secrets(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    (root / "golang/wandb").mkdir(parents=True)
    (root / "launch").mkdir()
    for name in ("golang/a.py", "golang/keys.py", "launch/job.sh", "golang/new.yaml"):
        (root / name).write_text(name)
    for name in (
        "golang/x.pem",
        ".env",
        "golang/.env",
        "golang/api_key.yaml",
        "golang/wandb/settings.yaml",
        "other.py",
    ):
        (root / name).write_text("secret")
    expected = ["golang/a.py", "golang/keys.py", "golang/new.yaml", "launch/job.sh"]
    assert snapshot.code_files(root) == expected
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (root / ".gitignore").write_text("launch/ignored.py\n")
    (root / "launch/ignored.py").write_text("")
    subprocess.run([*git, "add", "golang/a.py", "golang/keys.py"], check=True)
    assert snapshot.code_files(root) == expected
    first = snapshot.take(tmp_path / "sweep", root)
    assert snapshot.take(tmp_path / "sweep", root) == first
    (root / "golang/a.py").write_text("changed")
    assert snapshot.take(tmp_path / "sweep", root) != first
    assert (first / "golang/a.py").read_text() == "golang/a.py"


def test_a_module_that_jobs_go_without_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "golang").mkdir()
    (tmp_path / "launch").mkdir()
    for name in ("a.py", "keypoints.py", "key.txt", ".hidden.py"):
        (tmp_path / "golang" / name).write_text("")
    (tmp_path / "golang/link.py").symlink_to("a.py")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert snapshot.code_files(tmp_path) == ["golang/a.py"]
    assert "without golang/keypoints.py, golang/link.py: " in caplog.text
    caplog.clear()
    subprocess.run([*git, "add", "golang/keypoints.py"], check=True)
    (tmp_path / "golang/link.py").unlink()
    assert snapshot.code_files(tmp_path) == ["golang/a.py", "golang/keypoints.py"] and not caplog.text


def test_the_ledger_survives_a_writer_that_was_killed(tmp_path: Path) -> None:
    ledger.append(tmp_path, "intent", run="a6cec0e8", submission="s")
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"event": "submi')
    ledger.append(tmp_path, "submitted", run="a6cec0e8", job="7")
    assert [line["event"] for line in ledger.read(tmp_path)] == ["intent", "submitted"]
    assert ledger.damaged(tmp_path) == [2]
    assert ledger.read(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("absent", "modules"),
    [
        ("torch", "launch.planning.app, launch.planning.show, launch.submission.submit, launch.node.entry"),
        ("torchvision", "golang.processes.local"),
        ("hydra", "launch.__main__, launch.submission.submit, launch.node.entry, launch.settings, launch.report.page"),
    ],
)
def test_the_launcher_does_without(absent: str, modules: str) -> None:
    """Torch until it trains, the trainer where it only starts ranks; Hydra everywhere but in planning."""
    code = f"import sys; import {modules}; sys.exit(int('{absent}' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
