"""Comments of jobs: a person's or a site's stays, the launcher's beside it, and jobs are found with or without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from golang.config import Config
from golang.runfolder.folder import RunFolder
from launch.settings import Cluster, Launch
from launch.slurm import Job, ask, my_jobs
from launch.submission.sbatch import Script
from launch.submission.submit import _live, run_submission
from launch.sweep.folder import Plan, Planned
from launch.sweep.paths import Submission, Sweep

ID = "0123456789ab"


@pytest.mark.parametrize(
    ("extra", "exported", "comment"),
    [
        ({}, "", f"golang:{ID}"),
        ({"comment": "project=x, ours"}, "", f"project=x, ours golang:{ID}"),
        ({}, "theirs", f"theirs golang:{ID}"),
        ({"comment": "typed"}, "exported", f"typed golang:{ID}"),
        ({"comment": "true"}, "", f"true golang:{ID}"),
        ({}, "two\n#SBATCH --uid=0", f"two #SBATCH --uid=0 golang:{ID}"),
    ],
)
def test_a_comment_stays_beside_ours(
    extra: dict[str, str], exported: str, comment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_COMMENT", exported)
    cluster = Launch.from_dict({"cluster": {"name": "slurm", "extra": extra}}).cluster
    script = Script(cluster, Path("/code"), "golang-x", Path("/home"), 60)
    assert script.options(ID, "")["comment"] == comment
    (line,) = [line for line in script.for_run(Path("/runs/x"), ID).splitlines() if "--comment" in line]
    assert line.startswith("#SBATCH --comment=") and line.rstrip('"').endswith(f"golang:{ID}")
    assert Job("7", "PENDING", comment=comment).submission == ID


def test_a_comment_that_only_mentions_us_is_none_of_ours() -> None:
    assert Job("7", "RUNNING", comment="seengolang:x").submission == ""
    assert Job("7", "RUNNING", comment=f"copied from golang:old golang:{ID}").submission == ID


def test_jobs_are_found_by_comment_or_by_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SBATCH_COMMENT takes the place of what a script says, when someone types `sbatch RUN_DIR/job.sbatch`."""
    sweep = tmp_path / "grid"
    cluster = Cluster(name="slurm")
    runs = tuple(
        Planned(id, Config(), (), cluster, sweep / f"seed={number}-{id}")
        for number, id in enumerate(("aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd", "eeeeeeee"))
    )
    array, gone = Submission(Sweep(sweep).submissions / ID), Submission(tmp_path / "other/submissions/cdcdcdcdcdcd")
    array.make([run.folder for run in runs[:2]])
    for run in runs:
        run.folder.mkdir()
    rows = [
        f"7_0|0|PENDING||None|a|b golang:{ID}|/elsewhere",
        f"7_1|1|RUNNING|n1|None|theirs|{array.script}",
        f"8|N/A|PENDING||Priority|theirs|{RunFolder(runs[2].folder).script}",
        f"9|N/A|RUNNING|n2|None|golang:{run_submission(runs[3])}|/elsewhere",
        f"10|N/A|RUNNING|n2|None|theirs|{gone.script}",
        "11|N/A|RUNNING|n2|None||(null)",
        f"12|N/A|PENDING||DependencyNeverSatisfied||{RunFolder(runs[4].folder).script}",
    ]
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(rows) + "\nEND\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = _live(Plan(sweep, (), runs), local=False, lines=[])
    assert {id: (job.id, submission) for id, (job, submission, _) in found.items()} == {
        "aaaaaaaa": ("7_0", ID),
        "bbbbbbbb": ("7_1", ID),
        "cccccccc": ("8", run_submission(runs[2])),
        "dddddddd": ("9", run_submission(runs[3])),
    }
    assert [job.comment for job in my_jobs()][:2] == [f"a|b golang:{ID}", "theirs"]
    assert ask({"8"})[0]["8"].reason == "Priority"
