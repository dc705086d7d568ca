"""Tasks that died or hung start again on the nodes that their job has, unless something speaks against it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from golang import exits
from launch.sweep import ledger

ROOT = Path(__file__).resolve().parents[2]
SOON, LATER = "2000-01-01T00:00:00", "2200-01-01T00:00:00"
KILLED = "srun: error: n2: task 1: Killed"


@dataclass
class Job:
    """A batch script whose tasks fail as told, life by life, under a Slurm that answers as told."""

    folder: Path
    record: str = f"JobState=RUNNING EndTime={LATER}"
    node: str = "State=MIXED"
    answers: int = 0  # the exit status of a task that does nothing
    deaths: list[tuple[str, int]] = field(default_factory=lambda: [(KILLED, 137)])  # the last one again and again
    saves: bool = True  # each attempt leaves a checkpoint
    script: str = "RESTARTS_IN_PLACE=3 MAX_RETRIES=2 GOLANG_LEAD=30"

    @property
    def run(self) -> Path:
        return self.folder / "sweep" / "x-a6cec0e8"

    def program(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(f"#!/bin/bash\n{text}")
        file.chmod(0o755)
        return file

    def begin(self, restarts: int = 0) -> list[str]:
        """One life of the job: what its tasks were told each time they started."""
        for part in ("checkpoints", "logs", "attempts"):
            (self.run / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "told").write_text("")
        self.program(
            "scontrol",
            f"""case "$*" in
*"show node"*) echo "NodeName=n1 Arch=x State=IDLE"; echo "NodeName=n2 Arch=x {self.node} X" ;;
*"show job"*) echo "J=7 {self.record} Restarts=$SLURM_RESTART_COUNT X" ;;
*) echo "$*" >>{self.folder}/asked ;;
esac
""",
        )
        self.program("srun", f'env >{self.folder}/seen; echo "$*" >>{self.folder}/sruns; exit {self.answers}\n')
        ways = "".join(f"{n}) echo '{says}' >&2; exit {status} ;;\n" for n, (says, status) in enumerate(self.deaths, 1))
        task = self.program("task", f"""echo "${{GOLANG_IN_PLACE:-first}}" >>{self.folder}/told
mkdir "{self.run}/attempts/$(ls {self.run}/attempts | grep -c '^[0-9]')"
for begun in {self.run}/attempts/*/; do echo {{}} >$begun/start.json; done
{f'touch {self.run}/checkpoints/step_$(date +%s%N).a00.pt' if self.saves else ''}
case $(wc -l <{self.folder}/told) in
{ways}*) echo '{self.deaths[-1][0]}' >&2; exit {self.deaths[-1][1]} ;;
esac
""")  # fmt: skip
        code = f"RUN_DIR={self.run} GOLANG_SUBMISSION=s {self.script}; . {ROOT}/launch/node/job.sh; run_tasks {task}"
        told = {
            "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts), "SLURM_JOB_NUM_NODES": "2",
            "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_GPUS_PER_TASK": "1", "PATH": f"{self.folder}:{os.environ['PATH']}",
        }  # fmt: skip
        subprocess.run(["bash", "-c", code], env=told, capture_output=True, check=False, start_new_session=True)
        return (self.folder / "told").read_text().split()

    def events(self) -> list[str]:
        return [line["event"] for line in ledger.read(self.run.parent)]

    def last(self) -> str:
        return str(ledger.read(self.run.parent)[-1]["reason"])


def test_tasks_that_died_start_again_three_times_a_life(tmp_path: Path) -> None:
    job = Job(tmp_path, deaths=[(f"srun: error: n{number}: task 1: Killed", 137) for number in (1, 2, 3, 4)])
    assert job.begin() == ["first", "1", "2", "3"]
    assert job.events() == ["restarted"] * 3 + ["requeued"]
    assert job.last() == "srun left with 137, killed; not on the same nodes: done 3 times"
    causes = [json.loads(path.read_text())["cause"] for path in sorted(job.run.glob("attempts/*/cause.json"))]
    assert causes == ["killed"] * 4
    job.deaths = [(f"srun: error: n{number}: task 1: Killed", 137) for number in (5, 6, 7, 8)]
    assert job.begin(restarts=1) == ["first", "1", "2", "3"]
    assert (tmp_path / "asked").read_text() == "requeue 7\n" * 2


def test_each_time_has_its_own_words_of_srun(tmp_path: Path) -> None:
    """Memory that ran out at last is not looked for in what was said before."""
    job = Job(tmp_path, deaths=[(KILLED, 137), ("no progress for 600 s", exits.HUNG), ("oom_kill event", 137)])
    assert job.begin() == ["first", "1", "2"]
    causes = [json.loads(path.read_text())["cause"] for path in sorted(job.run.glob("attempts/*/cause.json"))]
    assert causes == ["killed", "hang", "out of memory"] and job.events() == ["restarted", "restarted", "failed"]


def test_the_node_of_two_deaths_is_left(tmp_path: Path) -> None:
    job = Job(tmp_path)
    assert job.begin() == ["first", "1"]
    assert job.events() == ["restarted", "requeued", "note"]
    assert "tasks died twice on n2" in ledger.read(job.run.parent)[1]["reason"]
    assert "ExcNodeList=n2" in (tmp_path / "asked").read_text()


def test_without_progress_it_ends_as_after_requeues(tmp_path: Path) -> None:
    job = Job(tmp_path, saves=False, deaths=[(f"srun: error: n{number}: task 1: Killed", 137) for number in (1, 2, 3)])
    assert job.begin() == ["first", "1", "2"]
    assert job.events() == ["restarted", "restarted", "failed"] and "died 3 times in a row" in job.last()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"script": "RESTARTS_IN_PLACE=0 MAX_RETRIES=2"}, ""),
        ({"record": f"JobState=RUNNING EndTime={LATER} PreemptTime=2026-01-01T00:00:00"}, "Slurm wants them"),
        ({"record": f"JobState=PREEMPTED EndTime={LATER}"}, "Slurm wants them"),
        ({"deaths": [("srun: error: Node failure on n2", 143)]}, "one was lost"),
        ({"deaths": [("", exits.NOT_MET)]}, "they did not reach each other"),
        ({"deaths": [("", exits.STORAGE)]}, "one may have lost its storage"),
        ({"node": "State=MIXED+DRAIN"}, "n2 is MIXED+DRAIN"),
        ({"node": "State=ALLOCATED*"}, "n2 is ALLOCATED*"),
        ({"answers": 1}, "one does not start tasks"),
        ({"record": f"JobState=RUNNING EndTime={SOON}"}, "a start and a save take 150 s"),
    ],
)
def test_what_speaks_for_other_nodes(changes: dict[str, object], why: str, tmp_path: Path) -> None:
    job = Job(tmp_path, **changes)  # type: ignore[arg-type]
    assert job.begin() == ["first"]
    assert job.events() == ["requeued"] and why in job.last()
    assert ("; not on the same nodes: " in job.last()) == bool(why)


@pytest.mark.parametrize("record", ["JobState=RUNNING EndTime=Unknown", f"JobState=RUNNING EndTime={LATER}"])
def test_time_left(record: str, tmp_path: Path) -> None:
    job = Job(tmp_path, record=record, deaths=[(KILLED, 137), ("saved", exits.STOPPED)])
    assert job.begin() == ["first", "1"] and job.events() == ["restarted", "requeued"]


def test_a_start_that_was_measured(tmp_path: Path) -> None:
    """From the start of the tasks to their first step, which their status tells."""
    soon = subprocess.run(["date", "-d", "+60 seconds", "+%FT%T"], capture_output=True, text=True, check=True).stdout
    job = Job(tmp_path, record=f"JobState=RUNNING EndTime={soon.strip()}", deaths=[(KILLED, 137), ("saved", 75)])
    assert job.begin() == ["first"] and "take 150 s" in job.last()
    task = '{"state": "running", "start_seconds": 4.7}'
    on_n1 = f"' >&2; echo '{task}' >{job.run}/attempts/1/status.json; echo '{KILLED.replace('n2', 'n1')}"
    job.deaths = [(on_n1, 137), ("saved", 75)]
    assert job.begin(restarts=1) == ["first", "1"]


def test_nodes_are_asked_without_the_options_of_the_job(tmp_path: Path) -> None:
    Job(tmp_path, deaths=[(KILLED, 137), ("saved", exits.STOPPED)]).begin()
    (command,) = (tmp_path / "sruns").read_text().splitlines()
    assert command.startswith("--nodes=2 --ntasks=2 --ntasks-per-node=1 ") and command.endswith("/bin/true")
    seen = (tmp_path / "seen").read_text()
    assert "SLURM_JOB_ID=7" in seen and "SLURM_GPUS_PER_TASK" not in seen


@pytest.mark.parametrize(
    ("then", "event"), [("CANCELLED", "cancelled"), ("RUNNING PreemptTime=2026-01-01T00:00:00", "requeued")]
)
def test_a_job_that_slurm_ends_meanwhile_does_not_start_again(then: str, event: str, tmp_path: Path) -> None:
    """While its nodes were asked."""
    state = f"$([ -e {tmp_path}/sruns ] && echo {then} || echo RUNNING)"
    job = Job(tmp_path, record=f"JobState={state} EndTime={LATER}")
    assert job.begin() == ["first"] and job.events() == [event]
