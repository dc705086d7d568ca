"""What an attempt died of, as the trainer and the batch script tell it, and what follows from it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from golang.engine.causes import classify, first_failure, record, recorded
from golang.errors import DataError, NonFiniteError, PeerLostError, RendezvousError, RunBusyError, StorageError
from golang.runfolder.folder import Attempt, RunFolder
from launch.node.requeue import Requeue, Verdict, name_cause
from launch.sweep import ledger


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
        (RuntimeError("Application timeout caused pair closure"), "network", True),
        (
            RuntimeError("[gloo/transport/tcp/pair.cc:130] SO_ERROR: connect [127.0.1.1]:47: Connection refused"),
            "network",
            True,
        ),
        (
            torch.distributed.DistBackendError(
                "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled system error\nncclSystemError: System "
                "call (e.g. socket, malloc) or external library call failed or device error.\nLast error:\n"
                "socketPollConnect: Connect to 127.0.1.1<4711> returned 111(Connection refused) errno 115"
            ),
            "network",
            True,
        ),
        (
            torch.distributed.DistBackendError(
                "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled system error\nncclSystemError: System "
                "call (e.g. socket, malloc) or external library call failed or device error.\nLast error:\n"
                "Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)"
            ),
            "CUDA or NCCL error",
            True,
        ),
        (RendezvousError("rank 1 waited 900 s for rank 0"), "network", True),
        (RuntimeError("CUDNN_STATUS_MAPPING_ERROR"), "CUDA or NCCL error", True),
        (RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."), "CUDA or NCCL error", True),
        (RuntimeError("No CUDA GPUs are available"), "CUDA or NCCL error", True),
        (RuntimeError("CUDA driver error: unknown error"), "CUDA or NCCL error", True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "CUDA or NCCL error", True),
        (torch.distributed.DistNetworkError("The client socket has timed out after 1800s"), "network", True),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "bug", False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "out of memory", False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory", False),
        (RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"), "out of memory", False),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2>: No space left on device (28)"),
            "out of memory",
            False,
        ),
        (RuntimeError("DataLoader worker (pid 4711) is killed by signal: Bus error. "), "out of memory", False),
        (OSError(errno.ENOSPC, "No space left on device", "/dev/shm"), "out of memory", False),
        (OSError(errno.ENOSPC, "No space left on device", "/dev/shm/runs/x/checkpoints"), "disk", True),
        (
            torch.distributed.DistBackendError(
                "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled system error\nLast error:\nError while creating "
                "shared memory segment /dev/shm/nccl-x (size 9637888), error: No space left on device (28)"
            ),
            "out of memory",
            False,
        ),
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


def test_an_attempt_that_was_overtaken_keeps_the_word_of_the_next(tmp_path: Path) -> None:
    """Its node was given up for lost, and thaws: what it then fails of is that the run has gone on elsewhere."""
    run = RunFolder(tmp_path / "sweep" / "x-a6cec0e8")
    for number in ("00", "01"):
        (run.attempts / number).mkdir(parents=True)
    thawed = Attempt(run, 0)
    thawed.write_cause("node lost", 4)
    with pytest.raises(RunBusyError) as refused:
        thawed.fence()
    record(refused.value, thawed, rank=0)
    assert thawed.cause()["cause"] == "node lost" and thawed.failures()[0]["cause"] == "refused"
    record(refused.value, Attempt(run, 1), rank=0)
    assert Attempt(run, 1).cause()["cause"] == "refused"


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
