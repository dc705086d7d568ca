"""What a site, a user or a surrounding job exports changes neither what tasks see nor what Slurm answers."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from launch import slurm
from launch.settings import Cluster
from launch.submission.sbatch import Script

ROOT = Path(__file__).resolve().parents[2]
OWN = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_NNODES": "1", "SLURM_NTASKS": "2",
    "SLURM_MEM_PER_NODE": "9", "SLURM_NTASKS_PER_NODE": "2", "SLURM_CONF": "/conf",
}  # fmt: skip
HOSTILE = {
    "SLURM_MEM_PER_CPU": "100", "SLURM_MEM_PER_GPU": "100", "SLURM_GPUS_PER_TASK": "1", "SLURM_TRES_PER_TASK": "cpu=1",
    "SLURM_CPUS_PER_TASK": "3", "SLURM_CPU_BIND": "none", "SLURM_CPU_BIND_LIST": "0x1", "SLURM_EXPORT_ENV": "NONE",
    "SLURM_HET_SIZE": "2", "SLURM_HINT": "nomultithread", "SLURM_LABELIO": "1", "SLURM_TIMELIMIT": "1",
    "SLURM_WAIT": "1", "SLURM_CPU_FREQ_REQ": "low", "SLURM_CLUSTERS": "other", "SRUN_EXPORT_ENV": "NONE",
    "SRUN_CPUS_PER_TASK": "3", "SLURM_ARRAY_JOB_ID": "3", "SLURM_ARRAY_TASK_ID": "1", "SLURM_STDERRMODE": "/dev/null",
}  # fmt: skip


def put(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def started(tmp_path: Path, cluster: Cluster, told: dict[str, str]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """srun's words, its environment, and scontrol's, of a run whose batch script `sbatch job.sbatch` has started."""
    script = Script(cluster, ROOT, "n", tmp_path, 60).for_run(tmp_path / "sweep" / "x-a6cec0e8", "s")
    (tmp_path / "job.sbatch").write_text(script)
    (tmp_path / "sweep").mkdir()
    put(tmp_path, "srun", f'env -0 >{tmp_path}/seen; printf "%s\\0" "$@" >{tmp_path}/words; exit 77')
    put(tmp_path, "scontrol", f"env -0 >{tmp_path}/asked; echo JobId=7 JobState=RUNNING Restarts=0 X")
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **told}
    subprocess.run(
        ["bash", tmp_path / "job.sbatch"], env=environ, capture_output=True, check=False, start_new_session=True
    )
    seen = [(tmp_path / name).read_text().rstrip("\0").split("\0") for name in ("words", "seen", "asked")]
    environments = [dict(line.split("=", 1) for line in lines if "=" in line) for lines in seen[1:]]
    return seen[0], environments[0], environments[1]


def test_tasks_see_what_the_batch_script_sets_and_srun_this_jobs_options_alone(tmp_path: Path) -> None:
    cluster = Cluster(name="slurm", mem="9", env={"SLURM_CPU_BIND": "cores", "NOTE": "x"}, extra={"export": "NONE"})
    words, seen, _ = started(tmp_path, cluster, OWN | HOSTILE)
    assert "--export=ALL" in words and "#SBATCH --export=NONE" in (tmp_path / "job.sbatch").read_text()
    assert OWN.items() <= seen.items()
    assert (seen["NOTE"], seen["SLURM_CPU_BIND"], seen["GOLANG_JOB"]) == ("x", "cores", "7")
    assert HOSTILE.keys() & seen.keys() == {"SLURM_CPU_BIND"}


def test_the_jobs_own_options_reach_srun(tmp_path: Path) -> None:
    cluster = Cluster(name="slurm", mem_per_gpu="100", gpus_per_task="1", cpus_per_task=3, extra={"cpu-freq": "low"})
    _, seen, _ = started(tmp_path, cluster, OWN | HOSTILE)
    kept = {"SLURM_MEM_PER_GPU", "SLURM_GPUS_PER_TASK", "SLURM_CPUS_PER_TASK", "SLURM_CPU_FREQ_REQ"}
    assert HOSTILE.keys() & seen.keys() == kept and "SLURM_MEM_PER_NODE" not in seen


@pytest.mark.parametrize(("exported", "known", "counted"), [("2", 0, "0"), ("2", 2, "2"), ("2", 3, "2")])
def test_a_surrounding_jobs_restarts_are_not_this_ones(exported: str, known: int, counted: str, tmp_path: Path) -> None:
    """Where Slurm has requeued it once more meanwhile, this is still the life before."""
    put(tmp_path, "scontrol", f"echo JobId=7 JobState=RUNNING Restarts={known} X")
    code = f". {ROOT}/launch/node/job.sh; trap - EXIT; echo $_restarts $SLURM_RESTART_COUNT"
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": exported}
    done = subprocess.run(
        ["bash", "-c", code], env=told, capture_output=True, text=True, check=True, start_new_session=True
    )
    assert done.stdout.split() == [counted, counted]


def test_what_setup_brings_does_not_change_scontrols_answers(tmp_path: Path) -> None:
    """As in `source ~/.bashrc`."""
    setup = ("export SLURM_CLUSTERS=other SLURM_TIME_FORMAT=relative SCONTROL_ALL=1", "export SLURM_EXPORT_ENV=NONE")
    words, seen, asked = started(tmp_path, Cluster(name="slurm", setup=setup), OWN)
    assert not {"SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SCONTROL_ALL"} & asked.keys() and asked["SLURM_CONF"] == "/conf"
    assert "SLURM_CLUSTERS" in seen and "--export=ALL" in words


@pytest.mark.parametrize(
    "name", ["SQUEUE_STATES", "SQUEUE_USERS", "SQUEUE_FORMAT", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"]
)
def test_exported_filters_hide_no_job(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "squeue", f'[ -n "${name}" ] || echo "7|N/A|PENDING||Priority|golang:s|x"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv(name, "RUNNING")
    assert [job.id for job in slurm.my_jobs()] == ["7"] == list(slurm.ask(["7"])[0])


def test_slurms_commands_start_in_an_environment_of_their_own() -> None:
    kept = {"SLURM_CONF": "/c", "HOME": "/h", "SBATCH_ACCOUNT": "lab", "SBATCH_EXPORT": "NONE", "SLURMY": "x"}
    dropped = [
        "SRUN_EXPORT_ENV", "SALLOC_ACCOUNT", "SACCT_FORMAT", "SINFO_PARTITION", "SCONTROL_ALL", "SCANCEL_STATE",
        "SLURM_MEM_PER_CPU", "SLURMD_NODENAME", "SBATCH_CLUSTERS", "SBATCH_ARRAY_INX", "SBATCH_WAIT",
    ]  # fmt: skip
    assert slurm.environment(kept | dict.fromkeys(dropped, "x")) == kept
    assert slurm.environment({"SBATCH_EXPORT": "NONE"}, ["export"]) == {}
    memory = dict.fromkeys(["SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"], "1")
    assert slurm.environment(memory, ["mem-per-gpu"]) == {} and slurm.environment(memory, ["time"]) == memory


def test_an_array_keeps_its_element(tmp_path: Path) -> None:
    script = Script(replace(Cluster(), name="slurm"), ROOT, "n", tmp_path, 60)
    options = f'OPTIONS="{" ".join(sorted([*script.options("", ""), "array"]))}"'
    code = f"{options}; . {ROOT}/launch/node/job.sh; trap - EXIT; echo $GOLANG_JOB"
    told = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "4"}
    done = subprocess.run(["bash", "-c", code], env=told, capture_output=True, text=True, check=True)
    assert done.stdout == "7_4\n"


@pytest.mark.parametrize(
    ("options", "kept"),
    [("time", ""), ("tres-bind", "x"), ("gpus-per-task nodes", "x"), ("ntasks-per-gpu", "x"), ("gpus-per-node", "")],
)
def test_what_binds_each_task_to_its_gpu(options: str, kept: str) -> None:
    """Newer Slurms say it in a variable, for an option that only implies it."""
    code = f'OPTIONS="{options}"; . {ROOT}/launch/node/job.sh; trap - EXIT; echo $SLURM_TRES_BIND'
    told = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7", "SLURM_TRES_BIND": "x"}
    done = subprocess.run(["bash", "-c", code], env=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == kept
