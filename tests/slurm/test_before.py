"""An array that the launcher of before has sent, as its job.sbatch and its snapshot have it, goes on with today's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from golang.config import Config
from launch.sweep.folder import frozen_code
from tests.legacy.before import unpack

from .cluster import Cluster
from .processes import wait_for
from .runs import Typist, flat, queue, said
from .test_looking import ONE, typist_on


@pytest.fixture
def typist(cluster: Cluster, tmp_path: Path) -> Iterator[Typist]:
    typist = typist_on(cluster, tmp_path)
    defaults = flat(Config().to_dict())
    yield replace(typist, settings=[setting for setting in typist.settings if setting not in defaults])
    cluster.reset()


def test_an_array_of_before(typist: Typist) -> None:
    """Adopted by the same command typed again; one run is preempted and comes back, the other cancelled and sent anew
    with its code of before."""
    grid = [*ONE, "optim.epochs=150,151", "sweep=before"]
    first, second = replace(typist, root=unpack(typist.folder / "checkout")).submit(*grid[:-1], sweep="before")
    code = frozen_code(first.path)
    assert f"/code/{code}/launch/job.sh || exit 1" in (first.path / "job.sbatch").read_text()
    jobs = queue(typist.cluster)
    again = typist.type(*grid)
    assert again.returncode == 0 and "submitted" not in again.stdout, said(again)
    assert [job for job, _ in queue(typist.cluster)] == [job for job, _ in jobs] and len(jobs) == 2

    first.wait_step(3)
    typist.cluster.run("scancel", second.job)
    typist.cluster.wait_job(second.job, "CANCELLED")
    sent = typist.type(*grid, "code=frozen")
    assert "1 submitted" in sent.stdout and f"its code of before ({code})" in sent.stdout, said(sent)
    second = typist.runs("before")[1]
    script = (second.path / "job.sbatch").read_text()
    assert f"/code/{code}/launch/job.sh || exit 1" in script and ' -m launch.entry "$RUN_DIR"' in script

    high = ("--partition=high", f"--nodelist={first.nodes[0]}", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    typist.cluster.run("sbatch", *high)
    first.wait(lambda run: run.words().count("attempt") == 2, 60, "begun again")
    first.wait_done()
    second.wait_done()
    wait_for(lambda: not queue(typist.cluster), 30, "the queue empty")
    assert first.causes() == ["preempted"] and first.words()[-1] == second.words()[-1] == "finished"
    assert len(list((typist.folder / "runs/before/code").iterdir())) == 2, "nothing ran with today's"
    done = typist.type(*grid)
    assert "2 finished" in done.stdout, said(done)
