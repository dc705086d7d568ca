"""Bad input and bad weather on a real Slurm: what the launcher says, and that nothing is submitted or lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from .runs import HOLD, Typist, queue, said


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cluster.partition=nowhere"], "partition.*cluster.partition=nowhere.*sinfo"),
        (["cluster.dependency=someday"], "dependency.*cluster.dependency=someday"),
        (["cluster.gres=gpu:nowhere:2"], "type the same command again"),
        (["cluster.partitoin=low"], "unknown setting cluster.partitoin.*did you mean cluster.partition"),
        (["cluster.time=soon"], "cluster.time='soon'"),
        (["run_dir=here"], "run_dir=here is for one run"),
        (["optim.batch_size=6"], "does not divide by"),
        (["cluster=local,slurm"], "same for all runs|no such cluster"),
    ],
)
def test_refusals(typist: Typist, overrides: list[str], words: str) -> None:
    done = typist.type(*overrides, "sweep=refused")
    assert done.returncode not in (0, 1), said(done)
    assert re.search(words, said(done).replace("\n", " "), re.IGNORECASE), said(done)
    assert "Traceback" not in said(done)
    assert len(said(done).strip().splitlines()) <= 2
    assert queue(typist.cluster) == []


def test_after_a_refusal_the_same_command_submits(typist: Typist) -> None:
    refused = typist.type("cluster.partition=nowhere", "sweep=mended", HOLD)
    assert refused.returncode == 69
    done = typist.type("sweep=mended", HOLD)
    assert "1 submitted" in done.stdout, said(done)


def test_a_folder_that_cannot_be_written(typist: Typist) -> None:
    (typist.folder / "taken").write_text("a file")
    done = typist.type("runs_dir=taken")
    assert done.returncode == 2 and re.search("can't write to .*taken.*runs_dir=PATH", said(done)), said(done)


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a full disk")
def test_a_full_disk(typist: Typist) -> None:
    full = typist.folder / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], check=True)
    try:
        done = typist.type(f"runs_dir={full}", HOLD)
        assert done.returncode == 2 and re.search("No space left on device; make room", said(done)), said(done)
    finally:
        subprocess.run(["umount", full], check=True)
    assert queue(typist.cluster) == []


def test_a_damaged_ledger_line(typist: Typist) -> None:
    typist.submit(HOLD, sweep="damaged")
    file = typist.folder / "runs/damaged/ledger.jsonl"
    file.write_text("\x00garbage{\n" + file.read_text() + '{"event": "half')
    done = typist.type(HOLD, "sweep=damaged")
    assert done.returncode == 0 and "1 stuck" in done.stdout, said(done)
    assert "damaged" in said(done)
    more = typist.type(HOLD, "sweep=damaged", "optim.epochs=3")
    assert "1 submitted" in more.stdout, said(more)


def test_without_slurm(typist: Typist) -> None:
    done = typist.type("sweep=none", environment={"PATH": "/nowhere"})
    assert done.returncode == 69 and "no Slurm on this machine" in said(done) and "cluster=local" in said(done)


def test_a_controller_that_does_not_answer(typist: Typist) -> None:
    (run,) = typist.submit(HOLD, sweep="silent")
    box = typist.cluster._box("slurmctld")
    box.signal(signal.SIGSTOP)
    try:
        done = typist.type(HOLD, "sweep=silent", environment={"GOLANG_SLURM_PATIENCE": "3"})
    finally:
        box.signal(signal.SIGCONT)
    assert done.returncode == 69 and re.search("did not answer within 3 s.*nothing was lost", said(done)), said(done)
    assert typist.cluster.wait_job(run.job, "PENDING")
    assert "1 stuck" in typist.type(HOLD, "sweep=silent").stdout
