"""A frozen attempt that Slurm has given up is overtaken by the job's next life, and changes nothing when it thaws."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from golang.config import Checkpoint, Config
from golang.engine import session
from golang.errors import FirstRankError, RunBusyError
from golang.runfolder import lock
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder
from tests.resume.harness import TOTAL, Fault, differences, final_state, launch, metrics


def life(job: str, restarts: int, ranks: Path | None = None) -> None:
    """Each rank's beginning: part of a life of a Slurm job, impatient, and known by its pid in the folder `ranks`."""
    if ranks is not None:
        (ranks / str(os.getpid())).touch()
    os.environ |= {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(restarts)}
    lock.PATIENCE, session.HEARTBEAT = 0.3, 0.0


def test_the_next_life_of_the_job_overtakes_frozen_ranks(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    run, folder = tmp_path / "run", RunFolder(tmp_path / "run")
    frequent = replace(config, checkpoint=Checkpoint(60.0, every_steps=3, keep_last=2, keep_every_epochs=0))

    (ranks := tmp_path / "ranks").mkdir()

    def frozen() -> list[int]:
        fault = Fault(8, signal.SIGSTOP, rank=None)
        return launch(frequent, run, ranks=2, fault=fault, prepare=functools.partial(life, "7", 0, ranks))

    with ThreadPoolExecutor(1) as aside:
        zombies = aside.submit(frozen)
        wait_until(lambda: [state(path.name) for path in ranks.iterdir()] == ["T", "T"])
        try:
            other = launch(frequent, run, ranks=2, prepare=functools.partial(life, "8", 0))
            assert other == [RunBusyError.exit_status] * 2, "another job's owner stays; rank 1 leaves as rank 0 does"
            assert launch(frequent, run, ranks=2, prepare=functools.partial(life, "7", 1)) == [0, 0]
            before = everything(run, but="attempts/00")
        finally:
            for path in ranks.iterdir():
                os.kill(int(path.name), signal.SIGCONT)
        assert zombies.result()[0] == RunBusyError.exit_status
    assert everything(run, but="attempts/00") == before
    assert folder.attempt_numbers() == [0, 1]
    cause = read_json(run / "attempts/00/cause.json")
    assert cause["cause"] == "refused" and "attempt 1 of" in cause["message"]
    assert final_state(run)["step"] == TOTAL
    ends = [final_state(path) for path in (run, undisturbed)]
    assert differences(*({**end, "config": None} for end in ends)) == []
    assert metrics(run) == metrics(undisturbed)


def test_a_lock_is_left_to_whom_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same life, an older one, another job, and no job at all: none of them overtakes."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    path = tmp_path / "lock"
    with lock.hold(path) as held:
        assert "job 7 after 2 restarts" in path.read_text()
        for job, restarts in (("7", "2"), ("7", "1"), ("70", "3"), ("", "0")):
            monkeypatch.setenv("SLURM_JOB_ID", job)
            monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
            with pytest.raises(lock.HeldError, match="job 7 after 2 restarts"), lock.hold(path, patience=0.1):
                pass
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
        with lock.hold(path, patience=0.1) as taken:
            assert "after 3 restarts" in path.read_text() and os.fstat(held).st_ino != os.fstat(taken).st_ino
    assert [found.name for found in tmp_path.iterdir()] == ["lock"]


def test_the_other_ranks_error_keeps_its_status() -> None:
    assert FirstRankError("busy", 73).exit_status == 73 and str(FirstRankError("busy", 73)) == "rank 0: busy"


def state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.05)


def everything(run: Path, but: str) -> dict[str, bytes]:
    """All files of the run by name, but for one folder's."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and not path.is_relative_to(run / but)
    }
