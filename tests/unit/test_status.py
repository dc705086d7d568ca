"""Finding runs and saying how they stand, from the folders alone (no Slurm on this PATH)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.monitor.logs import follow
from launch.monitor.table import differing
from launch.slurm import ask
from launch.sweep import ledger
from launch.sweep.find import NotFoundError, find, find_one

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs that finished, stopped, failed, died, and never started, and one that is being trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    sweep = tmp_path / "runs/mine"
    for number, state in enumerate(["finished", "stopped", "failed", "running", "running", None]):
        run = RunFolder.create(sweep / f"epochs={number},group_heads=4-{number}bcdef01", Config())
        if state is None:
            continue
        attempt = run.start_attempt(1, {}, None)
        attempt.write_status(state, 10 * number, 100, host="n1", loss=2.5)
        (attempt.path / "rank0.log").write_text(f"hello from {number}\n")
        if state == "finished":
            run.done_file.touch()
        if state in ("stopped", "failed"):
            attempt.write_cause({"stopped": "terminated", "failed": "error"}[state], 10, message="no room")
    ledger.append(sweep, "submitted", run="1bcdef01", folder="epochs=1,group_heads=4-1bcdef01", job="77_3")
    return sweep


def states(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    capsys.readouterr()
    assert main(["status", "--json", *arguments]) == 0
    return {line["run"][7]: line["state"] for line in json.loads(capsys.readouterr().out)}


def test_states(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {"0": "finished", "1": "stopped", "2": "failed", "3": "died", "4": "died", "5": "not submitted"}
    assert states(capsys) == expected
    with RunFolder(sweep / "epochs=4,group_heads=4-4bcdef01").hold():
        assert states(capsys, "mine") == {**expected, "4": "running"}


def test_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert "epochs=1 1bcdef01" in shown and "group_heads" not in shown, "what is common is not repeated"
    assert "10/100" in shown and "2.500" in shown and "no room" in shown and "type the same command" in shown
    assert "squeue is not on the PATH" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 100


def test_an_attempt_that_has_only_begun_shows_how_far_the_run_is(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder(sweep / "epochs=3,group_heads=4-3bcdef01").start_attempt(1, {}, None)
    assert main(["status", "--json", "3bcd"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["step"], line["total"], line["loss"], line["attempts"]) == (30, 100, 2.5, 2)


def test_runs_are_in_the_order_of_their_numbers(sweep: Path) -> None:
    RunFolder.create(sweep / "epochs=10,group_heads=4-abcdef01", Config())
    assert [run.path.name[7:9] for run in find("mine", Path("runs"))] == ["0,", "1,", "2,", "3,", "4,", "5,", "10"]


@pytest.mark.parametrize("target", ["1bcd", "1bcdef01", "77_3", "77", "epochs=1", "epochs=1,group_heads=4-1bcdef01"])
def test_a_run_by_any_name(sweep: Path, target: str) -> None:
    assert find_one(target, Path("runs")).path.name == "epochs=1,group_heads=4-1bcdef01"
    assert find_one(str(sweep / "epochs=1,group_heads=4-1bcdef01"), Path("nowhere")).job == "77_3"


def test_what_is_not_there(sweep: Path) -> None:
    with pytest.raises(NotFoundError, match=r"'yours' is no path, sweep, run, id or job here; sweeps .* are: mine"):
        find("yours", Path("runs"))
    with pytest.raises(NotFoundError, match="names 6 runs; choose one"):
        find_one("mine", Path("runs"))
    RunFolder.create(sweep.parent / "twin" / "epochs=1,group_heads=4-1bcdef01", Config())
    with pytest.raises(NotFoundError, match=r"names 2 runs; choose one:\n  \S*runs/mine/\S+\n  \S*runs/twin/"):
        find_one("1bcdef01", Path("runs"))
    with pytest.raises(NotFoundError, match="no runs below empty"):
        find(None, Path("empty"))


def test_logs(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "1bcd"]) == 0
    assert capsys.readouterr().out == "hello from 1\n"
    assert main(["logs", "1bcd", "--attempt", "3"]) == 2
    assert "has no attempt 3, only 0" in capsys.readouterr().err
    assert main(["logs", "1bcd", "--rank", "5"]) == 2
    assert "has no log of rank 5, only of 0" in capsys.readouterr().err
    assert main(["logs", "5bcd"]) == 2
    assert "has not started yet" in capsys.readouterr().err


def test_logs_followed_into_the_next_attempt(sweep: Path) -> None:
    run = find_one("3bcd", Path("runs"))
    done, seen = threading.Event(), []

    def read() -> None:
        for text in follow(run, 0, done.is_set):
            seen.append(text)

    def wait_for(end: str) -> None:
        deadline = time.monotonic() + 60
        while not "".join(seen).endswith(end) and time.monotonic() < deadline:
            time.sleep(0.02)

    reader = threading.Thread(target=read)
    reader.start()
    wait_for("hello from 3\n")
    attempt = RunFolder(run.path).start_attempt(1, {}, None)
    (attempt.path / "rank0.log").write_text("again\n")
    wait_for("again\n")
    done.set()
    reader.join(60)
    assert "".join(seen) == "hello from 3\n--- attempt 01 ---\nagain\n"


def test_cancel_asks(sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["cancel", "mine"]) == 0
    assert "nothing to cancel" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with RunFolder(sweep / "epochs=4,group_heads=4-4bcdef01").hold():
        assert main(["cancel", "mine"]) == 1
    assert "nothing was cancelled" in capsys.readouterr().out


def test_cancel_says_what_it_could_not_end(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run on a machine that shares the folder's locks."""
    with RunFolder(sweep / "epochs=4,group_heads=4-4bcdef01").hold():
        assert main(["cancel", "mine", "--yes"]) == 1
    said = capsys.readouterr()
    assert "cancelled 0" in said.out and "epochs=4,group_heads=4-4bcdef01 goes on: its process is not on" in said.err
    assert [line["event"] for line in ledger.read(sweep)] == ["submitted"]


def test_a_damaged_ledger_line_is_passed_over(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (sweep / "ledger.jsonl").open("a") as file:
        file.write('{"event": "submi')
    ledger.append(sweep, "note", run="x", folder="y")
    assert states(capsys)["1"] == "stopped" and ledger.damaged(sweep) == [2]


def test_short_names() -> None:
    assert differing(["a=1,b=2-00000000", "a=1,b=3-11111111"]) == {
        "a=1,b=2-00000000": "b=2 00000000", "a=1,b=3-11111111": "b=3 11111111",
    }  # fmt: skip


def test_no_torch(sweep: Path) -> None:
    """By none of the commands, one after the other."""
    typed = ["status", "logs 1bcd", "cancel mine", "resume mine", "doctor mine", "report mine"]
    typed += ["compare 1bcd 3bcd", "export mine --to csv"]
    script = (
        "import sys\nfrom launch.__main__ import main\n"
        f"for words in {typed}:\n    main(words.split())\n    assert 'torch' not in sys.modules, words"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_jobs_of_this_machine_are_not_slurms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Slurm's commands are installed without a cluster, say."""
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho no cluster >&2; exit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert ask({"local:12"}) == ({}, "")
    assert "no cluster" in ask({"local:12", "7"})[1]


def test_a_planted_ledger_does_not_steer_the_terminal(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "epochs=2,group_heads=4-2bcdef01"
    ledger.append(sweep, "failed", run="2bcdef01", folder=folder, reason="\x1b]0;owned\x07\x1b[2Jgone\r\u009b2J")
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert "gone" in shown and not set(shown) & set("\x1b\x07\r\u009b")


def test_a_planted_log_does_not_steer_the_terminal(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = sweep / "epochs=0,group_heads=4-0bcdef01/attempts/00/rank0.log"
    log.write_text("a\x1b]0;owned\x07\n\tb\x1b[2J\n")
    for words in (["logs", "0bcd"], ["logs", "0bcd", "-f"]):
        assert main(words) == 0
        assert capsys.readouterr().out == "a\\x1b]0;owned\\x07\n\tb\\x1b[2J\n"


def test_names_of_folders_do_not_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    run = RunFolder.create(Path("runs/\x1b]0;owned\x07/a\nb\x9b2J-0bcdef01"), Config())
    (run.path / "job.sbatch").write_text("#SBATCH --partition=\x1b[2J\n")
    commands = [
        ["status"],
        ["status", "nope"],
        ["report"],
        ["resume"],
        ["doctor", "0b"],
        ["sync", "0b"],
        ["cancel", "0b"],
    ]
    for command in [*commands, ["logs", "0b"]]:
        main(command)
        said = "".join(capsys.readouterr())
        assert said and said.replace("\n", "").isprintable(), command


@pytest.mark.parametrize("every", ["nan", "0", "-1", "inf"])
def test_watch_needs_seconds(sweep: Path, every: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["watch", "--every", every])
    assert f"{every} must be a number of seconds above 0" in capsys.readouterr().err
