"""The README's commands, typed: training, stopping, continuing, refusing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from golang.config import Config, Toy
from golang.data.toy.write import write
from golang.runfolder.checkpoints import lineage
from golang.runfolder.folder import RunFolder
from golang.weights.sealed import read
from tests.cli.command import ENDLESS, ROOT, command, finish, run, run_here, started, status, wait_for_step


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    return write(root, Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_two_ranks_stopped_refused_and_continued(data_root: Path, tmp_path: Path) -> None:
    typed = command(data_root, "cluster.tasks_per_node=2", *ENDLESS, "run_dir=here")
    with started(tmp_path, typed) as first:
        wait_for_step(tmp_path / "here", 3)
        rank0 = status(tmp_path / "here")["pid"]
        os.kill(rank0, signal.SIGSTOP)  # what both ranks would compute meanwhile is of no use
        try:
            code, output = run(tmp_path, typed)
        finally:
            os.kill(rank0, signal.SIGCONT)
        assert code == 73 and re.search(r"here is being trained already by process \d+ on \S+, since", output)
        first.send_signal(signal.SIGTERM)
        code, output = finish(first)
    assert code == 75, output
    assert "stopped (terminated) at step" in output and "Traceback" not in output
    stopped_at = status(tmp_path / "here")["step"]
    assert [e.step for e in lineage(RunFolder(tmp_path / "here"))] == [stopped_at]

    # Typed again, it goes on; the launcher's death, however sudden, ends its ranks.
    with started(tmp_path, typed) as again:
        wait_for_step(tmp_path / "here", stopped_at + 2)
        rank0 = status(tmp_path / "here", 1)["pid"]
        assert rank0 != again.pid and alive(rank0)
        os.kill(again.pid, signal.SIGKILL)
        again.wait()
        deadline = time.monotonic() + 60
        while alive(rank0) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(rank0)
    assert json.loads((tmp_path / "here/attempts/01/start.json").read_text())["resumed_from"].startswith("step_")


def test_one_process_to_the_end(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = command(data_root, "optim.epochs=2", "queue.start_epoch=1", "queue.length=16", "sweep=mine")
    typed.append(f'notify.command=echo "$SWEEP, $STATE" >>{tmp_path}/news')
    code, output = run(tmp_path, typed)
    assert code == 0, output
    folders = list((tmp_path / "runs/mine").glob("*-????????"))
    assert (
        len(folders) == 1 and (folders[0] / "DONE").exists() and f"finished: 10 steps; {folders[0].name}"[-8:] in output
    )
    assert status(folders[0])["state"] == "finished"
    again = [*typed, "data.workers=0", "checkpoint.keep_last=1"]
    code, output = run_here(tmp_path, again, capsys, monkeypatch)
    assert code == 0 and "is finished already" in output, "settings outside the identity name the same run"
    assert list((tmp_path / "runs/mine").glob("*-????????")) == folders
    assert (tmp_path / "news").read_text() == "mine, finished\n", "once"


def test_ctrl_c_once_and_twice(data_root: Path, tmp_path: Path) -> None:
    typed = command(data_root, *ENDLESS, "run_dir=here")
    with started(tmp_path, typed) as process:
        wait_for_step(tmp_path / "here", 3)
        process.send_signal(signal.SIGINT)
        code, output = finish(process)
    assert code == 75 and "stopped (interrupted) at step" in output and "Traceback" not in output
    two = command(data_root, *ENDLESS, "run_dir=there", "cluster.tasks_per_node=2")
    with started(tmp_path, two) as process:
        wait_for_step(tmp_path / "there", 3)
        os.kill(status(tmp_path / "there")["pid"], signal.SIGSTOP)  # a rank that can't save
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        for _ in range(60):  # on a busy machine the first is heard late, and the second taken for the same
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        code, _ = finish(process)
    assert code == 130


LATE = """
import atexit, os, runpy, sys, time
if os.environ["RANK"] == "1":
    atexit.register(time.sleep, 2)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_under_torchrun(data_root: Path, tmp_path: Path) -> None:
    """One rank alone is asked to stop. Torchrun ends the other, which is slower to leave, as soon as the first is gone:
    it still ends as the first did."""
    (tmp_path / "late.py").write_text(LATE)
    typed = ["late.py", *command(data_root, *ENDLESS, "run_dir=here")]
    with started(tmp_path, typed, ("-m", "torch.distributed.run", "--nproc-per-node=2")) as process:
        wait_for_step(tmp_path / "here", 3)
        os.kill(status(tmp_path / "here")["pid"], signal.SIGUSR2)
        code, output = finish(process)
    assert code != 0 and "stopped (time limit) at step" in output
    assert "closing signal SIGTERM" in output
    assert set(re.findall(r"exitcode\s*: (-?\d+)", output)) == {"75"}, output
    assert json.loads((tmp_path / "here/attempts/00/start.json").read_text())["world_size"] == 2


def test_not_a_number(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is named, the last good checkpoint too, and no bad one is written."""
    code, output = run_here(
        tmp_path,
        command(
            data_root,
            "optim.base_lr=1e30",
            "optim.start_lr=0.01",
            "optim.warmup_epochs=1",
            "optim.freeze_iterations=0",
            "optim.epochs=9",
            "checkpoint.every_steps=1",
            "run_dir=here",
            "log_every_steps=7",
        ),
        capsys,
        monkeypatch,
    )
    assert code == 74, output
    step = int(re.search(r"became NaN or Inf at step (\d+); the last checkpoint is here/", output)[1])
    assert "Try a lower optim.base_lr (now 1e+30)" in output and "Traceback" not in output
    entry = lineage(RunFolder(tmp_path / "here"))[0]
    assert entry.step <= step and all(value.isfinite().all() for value in read(entry.path)["model"].values())
    assert json.loads((tmp_path / "here/attempts/00/cause.json").read_text())["cause"] == "non-finite"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.epoch=3"], r"unknown setting optim\.epoch=3 — did you mean optim\.epochs\?"),
        (["experiment=coco2013"], r"there is no such experiment; choose one of coco2014, coco2017, demo"),
        (["experiment=coco2014"], r"data=coco2014 needs data\.root=FOLDER[\s\S]*train2014"),
        (["experiment=coco2014", "data.root=nowhere"], r"nowhere[\s\S]*train2014"),
        (["model.group_heads=3"], r"model\.group_heads=3 does not divide model\.feature_dim=16; try one of 1, 2, 4"),
        (["queue.length=4"], r"queue\.length=4 is shorter than a batch, optim\.batch_size=8"),
        (["optim.warmup_epochs=99"], r"optim\.warmup_epochs=99 is longer than the run"),
        (["cluster.tasks_per_node=3"], r"optim\.batch_size=8 does not divide by 3 ranks"),
        (["cluster.gpus_per_node=4"], r"cluster\.gpus_per_node=4 is more than the 0 GPUs visible here"),
        (["device=cuda"], r"torch sees no GPU here"),
        (["optim.epochs=1,2"], r"optim\.epochs=1,2 is a grid"),
        (["optim.epochs=soon"], r"optim\.epochs='soon' must be a whole number"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_commands(
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    message: str,
) -> None:
    typed = command(data_root, *overrides)
    if any(text.startswith("experiment=coco") for text in overrides):
        typed = [typed[0], *overrides]
    code, output = run_here(tmp_path, typed, capsys, monkeypatch)
    assert code == 2 and re.search(message, output)
    assert not (tmp_path / "runs").exists(), "nothing is made for a command that can't work"


@pytest.mark.parametrize(
    ("absent", "starting"),
    [("hydra", f"run_path({str(ROOT / 'run.py')!r}"), ("rich.console", "run_module('launch'")],
)
def test_a_python_that_lacks_a_package(tmp_path: Path, absent: str, starting: str) -> None:
    """As of someone who did not enter the environment that `make setup` makes."""
    RunFolder.create(tmp_path / "runs/s/x-a6cec0e8", Config())
    code = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules[{absent!r}] = None; "
    status, output = run(tmp_path, ["-c", f"{code}runpy.{starting}, run_name='__main__')", "status"])
    assert status == 1 and f"has no module {absent}: `make setup` makes" in output and "Traceback" not in output
