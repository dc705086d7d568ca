"""What an attempt died of, as the trainer and the batch script tell it, and what follows from it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from golang.config import Config, Evaluation
from golang.engine.causes import classify, first_failure, recorded
from golang.errors import DataError, NonFiniteError, PeerLostError, StorageError
from golang.runfolder.folder import Attempt, RunFolder
from launch.node.requeue import Requeue, Verdict, name_cause
from launch.sweep import ledger

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "name", "retry"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory", False),
        (MemoryError(), "out of memory", False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "CUDA or NCCL error", True),
        (torch.distributed.DistBackendError("NCCL error in: ../torch/csrc"), "CUDA or NCCL error", True),
        (RuntimeError("CUDA error: device-side assert triggered"), "bug", False),
        (ImportError("libnccl.so, NCCL's library, not found"), "bug", False),
        (RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. "), "out of memory", False),
        (RuntimeError("DataLoader worker (pid(s) 4711) exited unexpectedly"), "out of memory", False),
        (
            RuntimeError("[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(…)"),
            "CUDA or NCCL error",
            True,
        ),
        (RuntimeError("NCCL communicator was aborted on rank 1."), "CUDA or NCCL error", True),
        (RuntimeError("Application timeout caused pair closure"), "CUDA or NCCL error", True),
        (RuntimeError("CUDNN_STATUS_MAPPING_ERROR"), "CUDA or NCCL error", True),
        (RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."), "CUDA or NCCL error", True),
        (RuntimeError("No CUDA GPUs are available"), "CUDA or NCCL error", True),
        (RuntimeError("CUDA driver error: unknown error"), "CUDA or NCCL error", True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "CUDA or NCCL error", True),
        (torch.distributed.DistNetworkError("The client socket has timed out after 1800s"), "CUDA or NCCL error", True),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "bug", False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "out of memory", False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory", False),
        (RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"), "out of memory", False),
        (RuntimeError("DataLoader worker (pid 5) exited unexpectedly with exit code 1. Details"), "bug", False),
        (OSError(errno.ESHUTDOWN, "Cannot send after transport endpoint shutdown"), "disk", True),
        (StorageError("x.jpg could not be read in 5 tries"), "disk", True),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", True),
        (DataError("2 of 100 images are unreadable"), "data", False),
        (NonFiniteError("the loss stopped being finite"), "non-finite", False),
        (PeerLostError("another rank is gone"), "peer lost", True),
        (KeyError("no such thing"), "bug", False),
    ],
)
def test_causes_of_exceptions(error: Exception, name: str, retry: bool) -> None:
    cause = classify(error)
    assert (cause.word, cause.retry) == (name, retry)


def test_the_rank_that_failed_first_is_blamed(tmp_path: Path) -> None:
    attempt = Attempt(RunFolder(tmp_path), 0)
    attempt.path.mkdir(parents=True)
    with pytest.raises(torch.OutOfMemoryError), recorded(attempt, 3):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(PeerLostError), recorded(attempt, 0):
        raise PeerLostError("another rank is gone since step 7")
    cause = json.loads((attempt.path / "cause.json").read_text())
    assert cause["cause"] == "out of memory" and cause["rank"] == 3 and "cluster.mem" in cause["message"]
    assert (first_failure(attempt) or {})["host"]


def test_a_rank_that_left_no_word_was_killed(tmp_path: Path) -> None:
    attempt = Attempt(RunFolder(tmp_path), 0)
    attempt.path.mkdir(parents=True)
    with pytest.raises(PeerLostError), recorded(attempt, 0):
        raise PeerLostError("another rank is gone since step 7")
    assert json.loads((attempt.path / "cause.json").read_text())["cause"] == "killed"


@pytest.mark.parametrize(
    ("verdict", "record", "heard", "name"),
    [
        (Verdict.REQUEUE, {"PreemptTime": "None"}, "time limit", "time limit"),
        (Verdict.REQUEUE, {"PreemptTime": "2026-01-01T00:00:00"}, "time limit", "preempted"),
        (
            Verdict.ALREADY,
            {"PreemptTime": "None"},
            "time limit",
            "preempted",
        ),  # the site lets Slurm send USR2 then, too
        (Verdict.REQUEUE, {"PreemptTime": "None"}, "terminated", "terminated"),
        (Verdict.ALREADY, {"PreemptTime": "None"}, "terminated", "preempted"),
        (Verdict.ENDED, {"PreemptTime": "None"}, "terminated", "cancelled"),
    ],
)
def test_causes_by_slurms_word(verdict: Verdict, record: dict[str, str], heard: str, name: str) -> None:
    assert name_cause(verdict, record, heard) == name


@pytest.mark.parametrize(("restarts", "cause"), [(1, "time limit"), (0, "preempted")])
def test_a_save_that_ends_after_the_time_is_of_the_time_limit(
    restarts: int, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch script has put the job back in the meantime, in this life of it or in one before."""
    run = RunFolder(tmp_path / "sweep" / "x-a6cec0e8")
    (run.attempts / "00").mkdir(parents=True)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho JobId=7 JobState=PENDING Restarts=2\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = {"job": "7", "restarts": restarts, "by": "batch script"}
    ledger.append(run.path.parent, "requeued", folder=run.path.name, **told)
    Requeue(run.path, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}).left("terminated")
    assert json.loads((run.attempts / "00/cause.json").read_text())["cause"] == cause


def dying(
    tmp_path: Path, says: str, status: int = 137, attempts: tuple[str, ...] = ("00",), away: str = "",
    record: str = "JobState=RUNNING", before: str = "",
) -> Path:  # fmt: skip
    """A run whose tasks have died under the batch script, of what srun said; its folder."""
    run = tmp_path / "sweep" / "x-a6cec0e8"
    for part in ("checkpoints", "logs", *(f"attempts/{number}" for number in attempts)):
        (run / part).mkdir(parents=True, exist_ok=True)
    for number in attempts:
        (run / f"attempts/{number}/start.json").write_text("{}")
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\n{away}case "$1" in requeue|update) echo "$*" >> {tmp_path}/asked; exit;; esac\n'
                        f"echo J=7 {record} Restarts=${{SLURM_RESTART_COUNT:-0}} ExcNodeList=n9 X\n")  # fmt: skip
    scontrol.chmod(0o755)
    task = tmp_path / "task"
    task.write_text(f"#!/bin/sh\n{before}echo '{says}' >&2\nexit {status}\n")
    task.chmod(0o755)
    code = f"RUN_DIR={run} MAX_RETRIES=2 GOLANG_SUBMISSION=s; . {ROOT}/launch/node/job.sh; run_tasks {task}"
    restarts = str(len(list((run / "logs").glob("*.srun"))))
    told = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": restarts, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", code], env=told, capture_output=True, check=False, start_new_session=True)
    return run


@pytest.mark.parametrize(
    ("says", "status", "cause"),
    [
        ("srun: error: n2: task 1: Killed", 137, "killed"),
        ("srun: error: Node failure on n2", 143, "node lost"),
        ("no progress for 600 s", 77, "hang"),
    ],
)
def test_the_batch_script_names_the_cause_and_tries_again(says: str, status: int, cause: str, tmp_path: Path) -> None:
    run = dying(tmp_path, says, status)
    assert json.loads((run / "attempts/00/cause.json").read_text())["cause"] == cause
    assert ledger.read(run.parent)[-1]["event"] == "requeued"


PREEMPTED = "JobState=RUNNING PreemptTime=2026-01-01T00:00:00"


@pytest.mark.parametrize(
    ("told", "record", "says", "asked", "cause"),
    [
        ("killed", "JobState=RUNNING", "oom_kill event", False, "out of memory"),
        ("killed", "JobState=PENDING", "srun: error: Node failure on n2", False, "node lost"),
        ("killed", "JobState=PENDING", "", False, "preempted"),
        ("killed", "JobState=CANCELLED", "", False, "cancelled"),
        ("terminated", PREEMPTED, "", False, "preempted"),
        ("terminated", "JobState=PENDING", "", False, "preempted"),
        ("terminated", "JobState=PENDING", "", True, "terminated"),
        ("terminated", "JobState=RUNNING", "", False, "terminated"),
        ("time limit", "JobState=CANCELLED", "", False, "cancelled"),
        ("hang", "JobState=PENDING", "", False, "hang"),
    ],
)
def test_what_ranks_could_not_know_is_told_by_the_batch_script(
    told: str, record: str, says: str, asked: bool, cause: str, tmp_path: Path
) -> None:
    """What they did know stays: a hang, and why they themselves put the job back into the queue."""
    run = RunFolder(tmp_path / "sweep" / "x-a6cec0e8")
    (run.attempts / "00").mkdir(parents=True)
    Attempt(run, 0).write_cause(told, 12, message='said "so"')
    ledger.append(run.path.parent, "requeued" if asked else "attempt", folder=run.path.name, job="7", restarts=0, at=1)
    dying(tmp_path, says, 75, record=record)
    found = json.loads((run.attempts / "00/cause.json").read_text())
    assert (found["cause"], found["step"], found["message"]) == (cause, 12, 'said "so"')


def test_the_newest_attempt_is_told_by_its_number(tmp_path: Path) -> None:
    run = dying(tmp_path, "srun: error: n2: task 1: Killed", attempts=("98", "99", "100"))
    assert [path.parent.name for path in run.glob("attempts/*/cause.json")] == ["100"]


@pytest.mark.parametrize(
    ("probe", "probed", "status", "again"),
    [(True, False, 137, True), (True, False, 75, True), (True, True, 137, False), (False, False, 137, False),
     (True, False, 0, False)],
)  # fmt: skip
def test_a_finished_run_killed_in_its_probe_comes_back(
    tmp_path: Path, probe: bool, probed: bool, status: int, again: bool
) -> None:
    run = RunFolder.create(tmp_path / "sweep" / "x-a6cec0e8", Config(evaluation=Evaluation(probe=probe)))
    run.done_file.touch()
    (run.path / "evaluation").mkdir()
    if probed:
        (run.path / "evaluation" / "linear.json").write_text("{}")
    dying(tmp_path, "srun: error: n2: task 1: Killed", status)
    assert (tmp_path / "asked").exists() == again


def test_a_controller_that_is_away_is_asked_until_it_answers(tmp_path: Path) -> None:
    """Six times for the job's record, and then three for the requeue."""
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    away = (
        f"echo x >> {tmp_path}/calls; n=$(wc -l < {tmp_path}/calls)\n"
        "if [ $n -le 6 ] || { [ $n -gt 7 ] && [ $n -le 10 ]; }; then\n"
        'echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1; fi\n'
    )
    (tmp_path / "sleep").chmod(0o755)
    run = dying(tmp_path, "srun: error: n2: task 1: Killed", away=away)
    assert ledger.read(run.parent)[-1]["event"] == "requeued"
    assert (tmp_path / "asked").read_text() == "requeue 7\n" and len((tmp_path / "calls").read_text().split()) == 11


def test_exhausted_memory_is_not_tried_again(tmp_path: Path) -> None:
    run = dying(tmp_path, "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of your processes may")
    assert json.loads((run / "attempts/00/cause.json").read_text())["cause"] == "out of memory"
    line = ledger.read(run.parent)[-1]
    assert line["event"] == "failed" and "cluster.mem" in line["reason"]
    assert not (tmp_path / "asked").exists()


def test_a_node_that_kills_twice_is_left_out(tmp_path: Path) -> None:
    dying(tmp_path, "srun: error: n2: task 1: Killed")
    assert "ExcNodeList" not in (tmp_path / "asked").read_text()
    run = dying(tmp_path, "srun: error: n2: tasks 0-1: Killed")
    assert "update JobId=7 ExcNodeList=n9,n2" in (tmp_path / "asked").read_text()
    line = ledger.read(run.parent)[-1]
    assert line["event"] == "note" and "n2" in line["reason"]


def test_an_attempt_without_a_last_word_is_named_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from launch.node.entry import _announce

    run = RunFolder(tmp_path / "sweep" / "x-a6cec0e8")
    run.attempts.mkdir(parents=True)
    for number, job in enumerate(("7", "7", "8")):  # Slurm's own requeue, and a command typed again
        monkeypatch.setenv("GOLANG_JOB", job)
        _announce(run)
        (run.attempts / f"{number:02d}").mkdir()
    causes = [json.loads((run.attempts / f"{number:02d}/cause.json").read_text())["cause"] for number in (0, 1)]
    assert causes == ["node lost", "killed"]


def test_the_end_of_a_requeued_job_does_not_interrupt_the_batch_script(tmp_path: Path) -> None:
    """Slurm then sends TERM to each of its processes."""
    for _ in range(2):
        dying(tmp_path, "srun: error: n2: task 1: Killed", away="pkill -TERM -s 0\n")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["requeue 7", "requeue 7", "update JobId=7 ExcNodeList=n9,n2"]
    assert [line["event"] for line in ledger.read(tmp_path / "sweep")] == ["requeued", "requeued", "note"]


def test_tasks_that_leave_while_the_batch_script_is_busy_with_a_signal_keep_their_status(tmp_path: Path) -> None:
    """Slurm takes its time to answer; meanwhile the tasks have saved and left with 75, which is no death."""
    run = dying(tmp_path, "saved", 75, away="sleep 0.6\n", before="kill -TERM $PPID; sleep 0.2\n")
    line = ledger.read(run.parent)[-1]
    assert (line["event"], line["reason"]) == ("requeued", "srun left with 75")
    assert not (run / "attempts/deaths").exists()


def test_a_half_line_in_the_ledger_does_not_swallow_the_batch_scripts(tmp_path: Path) -> None:
    """A disk that was full cut the line before."""
    (tmp_path / "sweep").mkdir()
    file = tmp_path / "sweep" / "ledger.jsonl"
    file.write_text('{"event": "note"}\n{"event": "half')
    run = dying(tmp_path, "srun: error: n2: task 1: Killed")
    assert [line["event"] for line in ledger.read(run.parent)] == ["note", "requeued"]
    assert file.read_text().startswith('{"event": "note"}\n{"event": "half\n{"time"')


def test_no_progress_in_three_attempts_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from launch.node.entry import NoProgressError, _announce

    run = RunFolder(tmp_path / "sweep" / "x-a6cec0e8")
    for part in (run.checkpoints, run.attempts):
        part.mkdir(parents=True)
    monkeypatch.setenv("GOLANG_JOB", "7")
    for number in range(3):
        _announce(run)
        (run.attempts / f"{number:02d}").mkdir()
    with pytest.raises(NoProgressError, match=r"3 attempts in a row began at step 0.*type the same command again"):
        _announce(run)
    assert json.loads((run.attempts / "00/cause.json").read_text())["cause"] == "node lost"
    (run.checkpoints / "step_00000010.a02.pt").touch()
    _announce(run)
    monkeypatch.setenv("GOLANG_JOB", "8")  # typed again: counted anew
    _announce(run)
    assert [line["resumes"] for line in ledger.read(run.path.parent)] == [0, 0, 0, 10, 10]


@pytest.mark.parametrize(
    ("seconds", "lead", "words"),
    [(2.0, 120, []), (60.0, 120, ["cluster.lead=135", "GraceTime of 135 s"]), (30.0, 120, ["GraceTime of 75 s"])],
)
def test_saves_that_do_not_fit_are_warned_of(
    seconds: float, lead: int, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\ncase "$*" in *partition*) echo PartitionName=low PreemptMode=REQUEUE GraceTime=10;;\n'
        "*) printf 'JobRequeue = 1\\nKillWait                = 30 sec\\n';; esac\n"
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    environ = {"SLURM_JOB_ID": "7", "SLURM_JOB_PARTITION": "low", "GOLANG_LEAD": str(lead)}
    with caplog.at_level("WARNING", "golang"):
        Requeue(tmp_path, environ).saved(seconds)
    assert len(caplog.records) == len(words)
    assert all(word in caplog.text for word in words)
