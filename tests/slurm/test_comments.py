"""A person's or a site's comment on a real Slurm: it stays, and the launcher finds its jobs."""

from __future__ import annotations

import pytest

from .runs import HOLD, Typist, queue, said


@pytest.mark.parametrize(
    ("words", "exported"), [(["cluster.extra.comment=project=x,y"], {}), ([], {"SBATCH_COMMENT": "project=x,y"})]
)
def test_a_comment_stays_and_jobs_are_found(typist: Typist, words: list[str], exported: dict[str, str]) -> None:
    command = ["seed=1,2", HOLD, "sweep=told", *words]
    done = typist.type(*command, environment=exported)
    assert done.returncode == 0, said(done)
    jobs = queue(typist.cluster)
    assert len(jobs) == 2
    comment = typist.cluster.job(jobs[0][0])["Comment"]
    assert comment.startswith("project=x,y golang:"), comment
    assert "2 stuck" in typist.type(*command, environment=exported).stdout and queue(typist.cluster) == jobs


def test_a_script_that_was_sent_by_hand_is_found_under_another_comment(typist: Typist) -> None:
    (run,) = typist.submit(HOLD, sweep="hand")
    typist.cluster.run("scancel", run.job)
    job = typist.cluster.run("sbatch", "--parsable", "--comment=theirs", run.path / "job.sbatch").stdout.strip()
    assert typist.cluster.job(job)["Comment"] == "theirs"
    again = typist.type(HOLD, "sweep=hand")
    assert "1 stuck" in again.stdout and [id for id, _ in queue(typist.cluster)] == [job], said(again)
