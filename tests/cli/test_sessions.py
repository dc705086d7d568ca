"""A session that is lost, and a scheduler's warning, as runs started by hand meet them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from golang.config import Config, Toy
from golang.data.toy.write import write
from golang.runfolder.checkpoints import lineage
from golang.runfolder.folder import RunFolder
from tests.cli.command import ENDLESS, command, finish, started, status, wait_for_step

AGENT = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--signals-to-handle=SIGTERM,SIGHUP,SIGUSR1")
TAKE = (
    "import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    return write(root, Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)


def ended(run_dir: Path) -> str:
    """Of what; its only checkpoint is where it stopped."""
    assert [entry.step for entry in lineage(RunFolder(run_dir))] == [status(run_dir)["step"]]
    return json.loads((run_dir / "attempts/00/cause.json").read_text())["cause"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_terminal_that_is_gone(ranks: int, data_root: Path, tmp_path: Path) -> None:
    """As when the network of an SSH session drops: every write to it fails from then on."""
    typed = command(data_root, *ENDLESS, "run_dir=here", f"cluster.tasks_per_node={ranks}")
    own, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, *typed], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        wait_for_step(tmp_path / "here", 3)
        os.close(own)
        assert process.wait(90) == 75
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert ended(tmp_path / "here") == "session lost"


def test_nohup(data_root: Path, tmp_path: Path) -> None:
    """It goes on, with its loader processes, until it is asked in earnest; here by a scheduler's warning."""
    typed = command(data_root, *ENDLESS, "run_dir=here")
    ignoring = ("-c", "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
                "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])")  # fmt: skip
    with started(tmp_path, typed, ignoring) as process:
        wait_for_step(tmp_path / "here", 3)
        os.killpg(process.pid, signal.SIGHUP)
        wait_for_step(tmp_path / "here", json.loads(last(tmp_path / "here"))["step"] + 4)
        process.send_signal(signal.SIGUSR1)
        code, output = finish(process)
    assert code == 75 and "stopped (time limit) at step" in output, output
    assert ended(tmp_path / "here") == "time limit"


@pytest.mark.parametrize(("number", "cause"), [(signal.SIGHUP, "session lost"), (signal.SIGUSR1, "time limit")])
def test_under_torchrun(number: signal.Signals, cause: str, data_root: Path, tmp_path: Path) -> None:
    typed = command(data_root, *ENDLESS, "run_dir=here")
    with started(tmp_path, typed, AGENT) as process:
        wait_for_step(tmp_path / "here", 3)
        process.send_signal(number)
        code, output = finish(process)
    assert code != 0 and f"stopped ({cause}) at step" in output, output
    assert ended(tmp_path / "here") == cause


def last(run_dir: Path) -> str:
    return (run_dir / "metrics.jsonl").read_text().splitlines()[-1]


TASK = """
import signal, sys, time
from launch.node import entry
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
entry._wait_for = lambda *_: (print("listening", flush=True), time.sleep(60))
entry.main(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("number", "how", "status"),
    [(signal.SIGHUP, "", 75), (signal.SIGHUP, "nohup", None), (signal.SIGUSR1, "", None), (signal.SIGTERM, "", 75)],
)
def test_a_task_that_has_only_just_started(
    number: signal.Signals, how: str, status: int | None, tmp_path: Path
) -> None:
    """It has nothing to save, and leaves; but a warning leaves time to get a step further."""
    RunFolder.create(tmp_path / "run", Config())
    with started(tmp_path, ["-c", TASK, str(tmp_path / "run"), how]) as process:
        assert process.stdout is not None and process.stdout.readline() == "listening\n"
        process.send_signal(number)
        if status is None:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
        else:
            assert process.wait(60) == status
