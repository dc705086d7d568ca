"""Jobs that Slurm lets wait: which of them wait for ever, what is said of them, and which are released."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from launch.__main__ import main
from launch.reasons import Kind, find
from launch.settings import Cluster
from launch.submission.release import LIMIT
from launch.submission.submit import _settled, run_submission
from launch.sweep import ledger
from launch.sweep.folder import Plan, Planned

RUN = "seed=1-aaaaaaaa"
# All that Slurm 22.05, 24.11 and 26.05 can give for a pending job, each after the kind that it is of.
KINDS = [line.split(" ", 1) for line in Path(__file__).with_name("reasons.txt").read_text().splitlines()]


def test_reasons_are_sorted() -> None:
    assert len(KINDS) > 200 and {kind for kind, _ in KINDS} == {kind.name for kind in Kind}
    assert [(kind, said) for kind, said in KINDS if find(said).kind.name != kind] == []
    assert find("").kind is find("SomethingNew").kind is Kind.COMES


def test_what_waits_for_ever_names_the_way_out() -> None:
    ways = ("scontrol release 77_3", f"python -m launch cancel elsewhere/mine/{RUN}", "same command submits it again")
    for said in (said for kind, said in KINDS if kind in ("HELD", "STUCK")):
        sentence = find(said).say(said, "77_3", Path("elsewhere/mine") / RUN)
        assert sentence.startswith(f"{said}: ") and any(way in sentence for way in ways) and "{" not in sentence


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("COLUMNS", "400")
    return Queue(tmp_path)


class Queue:
    """A sweep of one run whose job is in a Slurm that says what a test wants, and writes down what it is told."""

    def __init__(self, folder: Path) -> None:
        self.sweep, self.bin = folder / "runs/mine", folder / "bin"
        self.bin.mkdir()
        config = Config()
        RunFolder.create(self.sweep / RUN, config)
        self.plan = Plan(self.sweep, (), (Planned("aaaaaaaa", config, (), Cluster(name="slurm"), self.sweep / RUN),))
        self.event("submitted")
        for name in ("scontrol", "scancel"):
            self.put(name, f'echo {name} "$@" >> {folder}/told')
        self.told_file = folder / "told"

    def put(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def event(self, event: str, **facts: object) -> None:
        ledger.append_all(self.sweep, [{"event": event, "run": "aaaaaaaa", "folder": RUN, "job": "77", **facts}])

    def says(self, reason: str, state: str = "PENDING") -> None:
        comment = f"golang:{run_submission(self.plan.runs[0])}"
        self.put("squeue", f"echo '77|N/A|{state}||{reason}|{comment}|x'")

    @property
    def told(self) -> list[str]:
        return self.told_file.read_text().splitlines() if self.told_file.exists() else []

    def typed(self) -> tuple[str, str]:
        """What the table of the same command says of the run."""
        ((_, fate),) = _settled(self.plan, local=False)
        return fate.word, fate.remark

    def status(self, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
        capsys.readouterr()
        assert main(["status", "mine", "--json"]) == 0
        (line,) = json.loads(capsys.readouterr().out)
        return line["state"], line["last"]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PartitionTimeLimit", "above its partition's; python -m launch cancel 77, then type .* a shorter"),
        ("QOSMaxWallDurationPerJobLimit", "python -m launch cancel 77, then .* a shorter cluster.time or another"),
        ("BadConstraints", "no node has what it asks for.*python -m launch cancel 77, then .*cluster.constraint"),
        ("JobHeldUser", "held by its owner; scontrol release 77"),
        ("JobHeldAdmin", "held by Slurm or by an administrator; scontrol release 77"),
        ("launch failed requeued held", "could not start it on a node.*scontrol release 77.*same command again"),
        ("DependencyNeverSatisfied", "the same command submits it again"),
    ],
)
def test_status_says_why_and_changes_nothing(
    reason: str, words: str, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.says(reason)
    before = ledger.read(queue.sweep)
    state, last = queue.status(capsys)
    assert state == "stuck" and re.search(words, last), last
    assert main(["status", "mine"]) == 0
    assert "mine: 1 stuck" in capsys.readouterr().out
    assert (queue.told, ledger.read(queue.sweep)) == ([], before)


def test_watch_leaves_when_only_what_waits_for_ever_is_left(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.says("PartitionTimeLimit")
    assert main(["watch", "mine", "--every", "0.01"]) == 0
    assert "1 stuck" in capsys.readouterr().out and queue.told == []


@pytest.mark.parametrize("reason", ["Priority", "ReqNodeNotAvail, UnavailableNodes:n3", "None"])
def test_what_comes_is_waited_for(reason: str, queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.says(reason)
    queue.event("requeued")
    state, last = queue.status(capsys)
    assert state == "waiting" and last.startswith("" if reason == "None" else reason)
    assert queue.typed() == ("waiting", last) and queue.told == []


@pytest.mark.parametrize(
    ("reason", "before", "released"),
    [
        ("launch failed requeued held", "submitted", True),
        ("job requeued in held state", "submitted", True),
        ("JobHeldAdmin", "submitted", False),
        ("JobHeldAdmin", "requeued", True),
        ("JobHeldAdmin", "attempt", True),
        ("BadConstraints", "submitted", False),
        ("BadConstraints", "attempt", True),
        ("JobHeldUser", "requeued", False),
        ("PartitionTimeLimit", "requeued", False),
    ],
)
def test_what_slurm_held_is_released_by_the_same_command(
    reason: str, before: str, released: bool, queue: Queue
) -> None:
    queue.says(reason)
    queue.event(before)
    word, remark = queue.typed()
    assert word == ("waiting" if released else "stuck") and reason in remark
    assert queue.told == ["scontrol release 77"] * released
    notes = [line for line in ledger.read(queue.sweep) if line["event"] == "note"]
    assert [(line["job"], line["folder"], line["release"]) for line in notes] == [("77", RUN, 1)] * released


@pytest.mark.parametrize("state", ["PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"])
def test_releases_are_bounded(state: str, queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.says("launch failed requeued held", state)
    assert "(3 of 3 times still)" in queue.status(capsys)[1]
    assert main(["watch", "mine", "--every", "0.01"]) == 0
    assert queue.told == ["scontrol release 77"] * LIMIT
    assert "released, as Slurm held it: launch failed requeued held (3 of 3)" in capsys.readouterr().out
    sentence = r"Slurm was asked 3 times to release it: launch failed requeued held: .*; scontrol release 77"
    for word, said in (queue.typed(), queue.status(capsys)):
        assert word == "stuck" and re.match(sentence, said)
    assert len(queue.told) == LIMIT


def test_a_release_that_slurm_refuses_is_said(queue: Queue) -> None:
    queue.says("JobHeldAdmin")
    queue.event("requeued")
    queue.put("scontrol", "echo Access/permission denied >&2; exit 1")
    word, remark = queue.typed()
    assert word == "stuck" and "an administrator has to" in remark and "Access/permission denied" in remark


def test_a_finished_run_is_left_alone(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.says("launch failed requeued held")
    RunFolder(queue.sweep / RUN).done_file.touch()
    assert main(["watch", "mine", "--every", "0.01"]) == 0
    assert "1 finished" in capsys.readouterr().out and queue.told == []


@pytest.mark.parametrize("state", ["PENDING", "SPECIAL_EXIT"])
def test_cancel_finds_what_waits_for_ever(state: str, queue: Queue) -> None:
    queue.says("job requeued in held state", state)
    assert main(["cancel", "77", "--yes"]) == 0
    assert queue.told == ["scancel 77"]


def test_another_takes_the_place_of_a_job_whose_dependency_failed(queue: Queue) -> None:
    """Slurm cancels such a job only where it was asked to."""
    queue.says("DependencyNeverSatisfied")
    assert list(_settled(queue.plan, local=False)) == [] and queue.told == ["scancel 77"]


def test_a_note_does_not_hide_what_became_of_a_run(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.put("squeue", "exit 0")
    queue.event("note", release=1)
    assert queue.status(capsys)[0] == "gone"


RECORDS = """\
ClusterName=c Account=root UserName= Partition= ID=1 ParentAccount= Lft=1 GrpTRES=cpu=99(0),gres/gpu=N(1) MaxTRESPJ=
ClusterName=c Account=top UserName= Partition= ID=2 ParentAccount=root(1) Lft=2 GrpTRES=cpu=8(4),mem=4000(0) MaxTRESPJ=
ClusterName=c Account=lab UserName= Partition= ID=3 ParentAccount=top(2) Lft=3 GrpTRES=cpu=N(1),gres/gpu=4(4) MaxTRESPJ=
ClusterName=c Account=lab UserName=me(7) Partition= ID=4 ParentAccount= GrpTRES=node=2(1) GrpTRESRunMins=cpu=600(0) X=
ClusterName=c Account=lab UserName=you(8) Partition= ID=5 ParentAccount= GrpTRES=cpu=1(1) GrpTRESRunMins=cpu=N(0) X=
ClusterName=c Account=other UserName= Partition= ID=6 ParentAccount=root(1) GrpTRES=cpu=1(0) MaxTRESPJ=
QOS Records
QOS=small(2) GrpTRES=cpu=N(0) Account Limits= lab={MaxTRESPA=mem=1000(0)} User Limits= 7={MaxTRESPU=cpu=2(0)}
QOS=night(3) GrpJobs=N(0) GrpTRES=gres/gpu=1(0) Account Limits= No Accounts User Limits= No Users
"""


@pytest.mark.parametrize(
    ("reason", "wanted", "said"),
    [
        ("AssocGrpGRES", "TRES=cpu=8,mem=4000M,node=2,gres/gpu=4", ""),
        ("AssocGrpGRES", "TRES=cpu=1,gres/gpu=5", "gres/gpu=5, and account lab has 4 for all its jobs together"),
        ("AssocGrpCpuLimit", "ReqTRES=cpu=9,node=1 AllocTRES=(null)", "cpu=9, and account top has 8"),
        ("AssocGrpMemLimit", "TRES=cpu=1,mem=3.95G,node=1", "mem=4044.8, and account top has 4000"),
        ("AssocGrpNodeLimit", "TRES=cpu=3,node=3", "node=3, and your part of account lab has 2"),
        ("AssocGrpCPURunMinutesLimit", "TRES=cpu=6,node=1", "cpu=720 minutes, and your part of account lab has 600"),
        ("QOSMaxCpuPerUserLimit", "TRES=cpu=3", "cpu=3, and QOS small has 2"),
        ("MaxMemoryPerAccount", "TRES=cpu=1,mem=1001M", "mem=1001, and QOS small has 1000"),
        ("QOSGrpGRES", "TRES=cpu=2,gres/gpu=2", "gres/gpu=2, and QOS night has 1"),
        ("QOSGrpGRES", "TRES=cpu=2,gres/gpu=1", ""),
    ],
)
def test_a_limit_that_a_job_alone_is_above(
    reason: str, wanted: str, said: str, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    (queue.bin / "records").write_text(RECORDS)
    limit = "2:00:00" if "RunMin" in reason else "30"
    job = f"JobId=77 UserId=me(7) Account=lab QOS=small JobState=PENDING TimeLimit={limit} Partition=p {wanted} X=y"
    partition = "PartitionName=p Default=YES QoS=night State=UP"
    queue.put(
        "scontrol",
        f"case $3 in job) echo '{job}' ;; partition) echo '{partition}' ;; *) cat {queue.bin}/records ;; esac",
    )
    queue.says(reason)
    state, last = queue.status(capsys)
    if said:
        assert state == "stuck" and f"{reason}: it asks for {said}" in last and "python -m launch cancel 77" in last, (
            last
        )
    else:
        assert state == "waiting" and "comes as others end" in last, last
    assert queue.typed() == (state, last)
