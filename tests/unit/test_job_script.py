"""The batch script: its causes and exit statuses are the trainer's, and what it does about tasks that left or died."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from golang import exits
from golang.config import Config, Evaluation
from golang.runfolder.causes import Word
from golang.runfolder.folder import Attempt, RunFolder
from launch.sweep import ledger

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "".join((ROOT / "launch/node" / name).read_text() for name in ("job.sh", "again.sh"))
WORD = r'("[a-z][a-z |]*"|[a-z]+)'


def body(function: str) -> str:
    found = re.search(rf"^{function}\(\) {{.*?^}}", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found is not None, function
    return found[0]


def test_every_cause_is_one_of_the_words() -> None:
    """Those that it writes into cause.json, and those that it replaces there."""
    given = re.findall(rf"(?<![\w(])_(?:cause|name|kind) {WORD}(?: {WORD})?", SCRIPT)
    said = re.findall(rf"\becho {WORD}", body("_kind")) + re.findall(rf'_kind \w+\)" = {WORD}', SCRIPT)
    replaced = re.findall(r"\{2:-(\w+)\}|\|\$\{2:-(\w+)\}|\(([a-z]+)\|", body("_cause"))
    found = [*(word for pair in given for word in pair), *said, *(word for group in replaced for word in group)]
    words = {word for quoted in found for word in quoted.strip('"').split("|") if word}
    assert words == {
        "terminated", "session lost", "time limit", "preempted", "cancelled", "killed", "hang", "node lost",
        "out of memory",
    }  # fmt: skip
    assert words <= set(Word)


def test_every_exit_status_is_in_the_table() -> None:
    compared = re.findall(r'_status" !?= (\d+)', SCRIPT) + re.findall(r"exit code (\d+)", SCRIPT)
    assert {int(status) for status in compared} == {0, exits.STOPPED, exits.HUNG, exits.NOT_MET, exits.STORAGE}
    assert set(re.findall(r'\bexit (\d+|"\S+)', SCRIPT)) == {"0", '"$_status"'}


def dying(
    tmp_path: Path, says: str, status: int = 137, attempts: tuple[str, ...] = ("00",), away: str = "",
    record: str = "JobState=RUNNING", before: str = "",
) -> Path:  # fmt: skip
    """A run whose tasks have died under the batch script, of what srun said; its folder."""
    run = tmp_path / "sweep" / "x-a6cec0e8"
    for part in ("checkpoints", "logs", "attempts"):
        (run / part).mkdir(parents=True, exist_ok=True)
    begin = "".join(f"mkdir -p {run}/attempts/{number}; echo {{}} >{run}/attempts/{number}/start.json\n"
                    for number in attempts)  # fmt: skip
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\n{away}case "$1" in requeue|update) echo "$*" >> {tmp_path}/asked; exit;; esac\n'
                        f"echo J=7 {record} Restarts=${{SLURM_RESTART_COUNT:-0}} ExcNodeList=n9 X\n")  # fmt: skip
    scontrol.chmod(0o755)
    task = tmp_path / "task"
    task.write_text(f"#!/bin/sh\n{begin}{before}echo '{says}' >&2\nexit {status}\n")
    task.chmod(0o755)
    needs = f"RUN_DIR={run} MAX_RETRIES=2 RESTARTS_IN_PLACE=0 GOLANG_SUBMISSION=s"
    code = f"{needs}; . {ROOT}/launch/node/job.sh; run_tasks {task}"
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
        ("session lost", PREEMPTED, "", False, "preempted"),
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


def test_ranks_that_did_not_meet_blame_no_node(tmp_path: Path) -> None:
    for _ in range(2):
        dying(tmp_path, "srun: error: n2: task 1: Exited with exit code 70", exits.NOT_MET)
    assert (tmp_path / "asked").read_text() == "requeue 7\nrequeue 7\n"


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


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2"])
def test_a_warning_that_reaches_the_batch_script_too_ends_nothing(name: str, tmp_path: Path) -> None:
    """The tasks, which have got it as well, save and leave."""
    run = dying(tmp_path, "saved", 75, before=f"trap : {name}; kill -{name} $PPID; sleep 0.2\n")
    line = ledger.read(run.parent)[-1]
    assert (line["event"], line["reason"]) == ("requeued", "srun left with 75")


@pytest.mark.parametrize("name", ["USR1", "USR2"])
def test_a_warning_that_the_batch_script_alone_hears_is_handed_on(name: str, tmp_path: Path) -> None:
    """As with --signal=B:USR1@90 in SBATCH_SIGNAL, which overrules the script's own."""
    heard = f"trap 'echo heard >{tmp_path}/heard; exit 75' {name}; kill -{name} $PPID; sleep 3 & wait $!\n"
    dying(tmp_path, "never said", 1, before=heard)
    assert (tmp_path / "heard").exists()
    assert ledger.read(tmp_path / "sweep")[-1]["reason"] == "srun left with 75"


def test_a_half_line_in_the_ledger_does_not_swallow_the_batch_scripts(tmp_path: Path) -> None:
    """A disk that was full cut the line before."""
    (tmp_path / "sweep").mkdir()
    file = tmp_path / "sweep" / "ledger.jsonl"
    file.write_text('{"event": "note"}\n{"event": "half')
    run = dying(tmp_path, "srun: error: n2: task 1: Killed")
    assert [line["event"] for line in ledger.read(run.parent)] == ["note", "requeued"]
    assert file.read_text().startswith('{"event": "note"}\n{"event": "half\n{"time"')
