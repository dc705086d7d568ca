"""What the code of before left behind: snapshots, run folders, submissions on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golang.config import Config
from golang.config.identity import run_id
from golang.data.toy.write import write
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.monitor import resume
from launch.settings import Cluster
from launch.submission.sbatch import Script
from launch.sweep import here, ledger, snapshot
from launch.sweep.find import runs_in
from tests.cli.command import ROOT, command, run
from tests.resume.harness import TOTAL, judge, settings

from .before import changed, python, unpack

TRAIN = """
import json, os, signal, sys
from golang.config import Config
from golang.engine.runfolder import RunFolder
from golang.engine.trainer import Trainer
from golang.engine.worker import main
from golang.identity import run_id
folder, step, config = sys.argv[1], int(sys.argv[2]), Config.from_dict(json.loads(sys.argv[3]))
RunFolder.create(folder, config)
print(run_id(config))
train_on = Trainer._train_on
def stopped(self, batch):
    train_on(self, batch)
    if self.done == step:
        os.kill(os.getpid(), signal.SIGTERM)
Trainer._train_on = stopped
sys.exit(main(folder))
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    found = settings(tmp_path_factory.mktemp("data") / "toy")
    write(Path(found.data.root or ""), found.data.toy, workers=1)
    return found


def status(capsys: pytest.CaptureFixture[str], target: Path) -> list[dict]:
    capsys.readouterr()
    assert main(["status", "--json", str(target)]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_snapshot_is_called_where_its_modules_lie(before: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "runs/s"
    code = f"from pathlib import Path; from launch import snapshot; print(snapshot.take(Path({str(sweep)!r})))"
    taken = Path(python(before, tmp_path, "-c", code).stdout.strip())
    assert taken.parent == sweep / "code" and snapshot.kept(sweep, taken.name) == taken
    today = snapshot.take(sweep)
    assert today != taken
    for kept, batch, program in (
        (taken, "launch/job.sh", "launch.entry"), (today, "launch/node/job.sh", "launch.node.entry"),
    ):  # fmt: skip
        text = Script(Cluster(name="slurm"), kept, "golang-s", tmp_path, 60).for_run(sweep / "x-0bcdef01", "s")
        assert f"\n. {kept}/{batch} || exit 1\n" in text and f' -m {program} "$RUN_DIR"\n' in text
        assert (kept / batch).is_file() and (kept / f"{program.replace('.', '/')}.py").is_file()


def test_a_run_goes_on_from_where_it_stood(
    before: Path, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same id, in the same folder, to the same bits as a run that nobody stopped."""
    folder = tmp_path / f"runs/s/x-{run_id(config)}"
    done = python(
        before, tmp_path, "-c", TRAIN, str(folder), "8", json.dumps(changed(config.to_dict(), Config().to_dict()))
    )
    assert done.returncode == 75 and done.stdout.splitlines()[0] == run_id(config), done.stderr
    (line,) = status(capsys, folder.parent)
    assert (line["state"], line["total"], line["attempts"]) == ("stopped", TOTAL, 1) and 8 <= line["step"] < TOTAL
    assert line["last"] == "terminated; needs resubmission: type the same command"
    whole = RunFolder.create(tmp_path / "whole", config).path
    for path in (folder, whole):
        done = python(ROOT, tmp_path, "-m", "golang", str(path))
        assert done.returncode == 0, done.stdout + done.stderr
    assert judge(folder, whole) == ""
    start = json.loads((folder / "attempts/01/start.json").read_text())
    assert start["resumed_from"] == f"step_{line['step']:08d}.a00.pt" and RunFolder(folder).config() == config
    (line,) = status(capsys, folder.parent)
    assert (line["state"], line["step"], line["attempts"]) == ("finished", TOTAL, 2)
    assert main(["report", str(folder.parent)]) == 0
    text = (folder.parent / "report/report.md").read_text()
    assert "| terminated |" in text and f"{TOTAL}/{TOTAL} | finished" in text


def test_words_of_before_are_shown_as_they_stand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a cause that has another name now, and of a state file with less in it."""
    run = RunFolder.create(tmp_path / "s/x-0bcdef01", Config())
    attempt = run.start_attempt(1, {}, None)
    attempt.status_file.write_text('{"state": "running", "step": 7, "total": 9}')
    attempt.cause_file.write_text('{"cause": "error", "step": 7, "at": "", "message": "no room"}')
    (line,) = status(capsys, tmp_path / "s")
    assert (line["state"], line["last"], line["step"], line["total"]) == ("failed", "no room", 7, 9)
    assert main(["report", str(tmp_path / "s")]) == 0
    assert "| 0 | error | no room |" in (tmp_path / "s/report/report.md").read_text()


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Path]:
    """One whose processes end with the test."""
    yield tmp_path / "runs/here"
    for one in runs_in(tmp_path / "runs/here"):
        here.stop(one)


def wait(condition: object, sweep: Path) -> None:
    deadline = time.monotonic() + 90
    while not condition():  # type: ignore[operator]
        logs = "".join(file.read_text() for file in sweep.glob("submissions/*/*/*_log.*"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)


def test_runs_of_this_machine_go_on(
    before: Path, config: Config, sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two, one at a time: one ends as it began, the other is cancelled before its turn, and sent again with its code of
    before."""
    typed = command(
        Path(config.data.root or ""), "cluster=local", "cluster.env={OMP_NUM_THREADS: 1}", "optim.epochs=2,3",
        "optim.warmup_epochs=0", "sweep=here",
    )  # fmt: skip
    done = python(before, tmp_path, str(before / "run.py"), *typed[1:])
    assert done.returncode == 0 and "2 submitted" in done.stdout, done.stdout + done.stderr
    runs = runs_in(sweep)
    assert None not in [here.controller(one) for one in runs]
    assert b"launch.entry" in next(sweep.glob("submissions/*/*/*.pkl")).read_bytes()
    code, output = run(tmp_path, typed)
    assert code == 0 and "2 running" in output, output

    def stand() -> dict[str, str]:
        return {line["state"]: line["run"] for line in status(capsys, sweep)}

    wait(lambda: {"running", "waiting"} <= stand().keys(), sweep)
    waits = next(one for one in runs if one.path.name == stand()["waiting"])
    assert main(["cancel", "--yes", str(waits.path)]) == 0
    wait(lambda: stand().keys() == {"finished", "cancelled"} and here.controller(waits) is None, sweep)
    code, output = run(tmp_path, [*typed, "code=frozen"])
    assert code == 0 and "1 finished" in output and "1 submitted" in output and "its code of before" in output, output
    # The end is in the run's folder before its controller writes it in the ledger.
    wait(lambda: stand().keys() == {"finished"} and here.controller(waits) is None, sweep)
    again = ledger.read(sweep)
    assert [line["event"] for line in again if line["folder"] == waits.path.name][-3:] == [
        "submitted", "attempt", "finished",
    ]  # fmt: skip
    assert len(list((sweep / "code").iterdir())) == 2, "nothing ran with today's"
    assert resume.read(sweep).left_out() == [] and len(runs_in(sweep)) == 2
