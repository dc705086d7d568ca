"""What the launcher hands to a real Slurm: arrays, once each, whatever happens to the launcher. Jobs are held, so that
nothing trains here unless a test says so."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.sweep import ledger, snapshot
from tests.resume.harness import differences, final_state, metrics

from .cluster import Cluster
from .conftest import _running, typing
from .release import of_gpus
from .runs import HOLD, ROOT, Typist, queue, said


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster whose arrays have at most five elements."""
    with _running(request, max_array_size=5) as cluster:
        yield cluster


@pytest.fixture
def typist(small: Cluster, tmp_path: Path) -> Iterator[Typist]:
    yield from typing(small, tmp_path)


def test_a_grid_is_cut_into_arrays_and_submitted_once(typist: Typist) -> None:
    grid = ["optim.epochs=1,2,3,4", "queue.start_epoch=range(1,4)", HOLD, "cluster.parallelism=2", "sweep=grid"]
    done = typist.type(*grid)
    assert done.returncode == 0, said(done)
    jobs = [job for job, _ in queue(typist.cluster)]
    arrays = {job.partition("_")[0] for job in jobs}
    assert len(jobs) == 12 and len(arrays) == 3
    assert max(int(job.partition("_")[2]) for job in jobs) == 4
    assert typist.cluster.job(jobs[0])["ArrayTaskThrottle"] == "2"
    assert "12 submitted" in done.stdout and "python -m launch status" in done.stdout

    again = typist.type(*grid)
    assert "12 stuck" in again.stdout, said(again)
    assert [job for job, _ in queue(typist.cluster)] == jobs

    folders = sorted((typist.folder / "runs/grid").glob("*-????????"))
    assert len(folders) == 12
    (folders[0] / "DONE").touch()
    gone = typist.runs("grid")[-1]
    typist.cluster.run("scancel", gone.job)
    longer = typist.type(*[word.replace("1,2,3,4", "1,2,3,4,5") for word in grid])
    assert "1 finished" in longer.stdout and "10 stuck" in longer.stdout and "4 submitted" in longer.stdout, longer
    assert gone.job not in [job for job, _ in queue(typist.cluster)]


def test_cells_whose_resources_differ_go_in_arrays_of_their_own(typist: Typist) -> None:
    done = typist.type("optim.epochs=10,20", "seed=1,2", "cluster.time=${optim.epochs}", HOLD, "sweep=resources")
    assert done.returncode == 0, said(done)
    jobs = [job for job, _ in queue(typist.cluster)]
    assert len(jobs) == 4 and len({job.partition("_")[0] for job in jobs}) == 2
    assert {typist.cluster.job(job)["TimeLimit"] for job in jobs} == {"00:10:00", "00:20:00"}


def test_the_scripts_options_reach_slurm_as_they_were_written(typist: Typist) -> None:
    done = typist.type(
        HOLD, "sweep=odd", "cluster.time=1-00:30:00", "cluster.nodelist=n[1-2]", "cluster.exclude=[n3]",
        "cluster.mem=1G", "cluster.gpus_per_node=2", "cluster.cpus_per_task=2", "cluster.partition=low",
        "cluster.extra.nice=7",
        "cluster.env={TEXT: \"it's $HOME\"}",
    )  # fmt: skip
    assert done.returncode == 0, said(done)
    (run,) = typist.runs("odd")
    fields = run.record()
    assert fields["TimeLimit"] == "1-00:30:00" and fields["ReqNodeList"] == "n[1-2]" and fields["ExcNodeList"] == "n3"
    assert fields["TresPerNode"] == of_gpus(2) and fields["CPUs/Task"] == "2" and fields["Requeue"] == "1"
    assert "export TEXT='it'\"'\"'s $HOME'" in (run.path / "job.sbatch").read_text()


@pytest.mark.parametrize("quoted", ["two words", 'say "hi"', "back\\slash", "it's", "$(false) ; # %j"])
def test_values_are_quoted_for_sbatch(typist: Typist, quoted: str) -> None:
    from launch.submission.sbatch import _quote

    script = typist.folder / "quoted.sbatch"
    script.write_text(f"#!/bin/bash\n#SBATCH --hold\n#SBATCH --comment={_quote(quoted)}\n#SBATCH --nice=3\n")
    job = typist.cluster.run("sbatch", "--parsable", script).stdout.strip()
    assert f"Comment={quoted}" in typist.cluster.run("scontrol", "show", "job", job).stdout
    assert typist.cluster.job(job)["Nice"] == "3"


STEPS = {
    "before the snapshot": "launch.sweep.snapshot.take",
    "while freezing": "launch.submission.submit.freeze",
    "before the intent": "launch.submission.submit.ledger.append_all#intent",
    "after the intent": "launch.submission.executors.slurm.run#sbatch",
    "after sbatch": "launch.submission.submit.ledger.append_all#submitted",
    "after all": "launch.planning.show.fates",
}
KILLER = """
import os, pkgutil, runpy, signal, sys
sys.path.insert(0, {root!r})
target, _, word = {target!r}.partition("#")
module, _, name = target.rpartition(".")
holder = pkgutil.resolve_name(module)
real, calls = getattr(holder, name), []
def deadly(*arguments, **more):
    if word in ("intent", "submitted"):
        hit = arguments[1][0]["event"] == word
    elif word == "sbatch":
        hit = arguments[0][0] == "sbatch" and "--version" not in arguments[0]
    else:
        hit = True
    calls.append(hit)
    if sum(calls) == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **more)
setattr(holder, name, deadly)
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("step", "after"),
    [*((step, 1) for step in STEPS), ("while freezing", 4), ("after the intent", 2), ("after sbatch", 2)],
)
def test_a_launcher_killed_anywhere_loses_and_doubles_nothing(typist: Typist, step: str, after: int) -> None:
    grid = ["optim.epochs=1,2,3,4,5,6,7", HOLD, "sweep=killed"]  # two arrays
    argv = typist.command(*grid)[1:]
    code = KILLER.format(root=str(ROOT), target=STEPS[step], after=after, argv=argv)
    died = subprocess.run([sys.executable, "-c", code], **typist.options(), timeout=60)
    assert died.returncode == -signal.SIGKILL, said(died)
    before = queue(typist.cluster)
    again = typist.type(*grid)
    assert again.returncode == 0, said(again)
    jobs = queue(typist.cluster)
    assert set(before) <= set(jobs) and len(jobs) == 7
    lines = ledger.read(typist.folder / "runs/killed")
    owners = {(line["run"]): line["job"] for line in lines if line["event"] in ("submitted", "adopted")}
    assert sorted(owners.values()) == [job for job, _ in jobs]


def test_two_launchers_at_once(typist: Typist) -> None:
    grid = ["optim.epochs=1,2,3", HOLD, "sweep=two"]
    slow = (  # it holds the lock until it is told a line
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from launch.submission import submit\nreal = submit.freeze\n"
        "submit.freeze = lambda *a: (sys.stdin.readline(), real(*a))\n"
        f"sys.argv = {typist.command(*grid)[1:]!r}\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    with subprocess.Popen([sys.executable, "-c", slow], **(typist.options() | {"stdin": subprocess.PIPE})) as first:
        lock = typist.folder / "runs/two/lock"
        while not (lock.exists() and "process" in lock.read_text()):
            assert first.poll() is None
        second = typist.type(*grid)
        out, err = first.communicate("\n", timeout=60)
    assert first.returncode == 0, out + err
    assert second.returncode == 73
    assert re.search(r"another launcher is at work in .*/two: process \d+ on ", said(second)), said(second)
    assert len(queue(typist.cluster)) == 3


def test_job_sbatch_restarts_a_run_without_the_launcher(typist: Typist) -> None:
    (run,) = typist.submit(HOLD, sweep="alone")
    typist.cluster.run("scancel", run.job)
    job = typist.cluster.run("sbatch", "--parsable", run.path / "job.sbatch").stdout.strip()
    again = typist.type(HOLD, "sweep=alone")
    assert "1 stuck" in again.stdout and job in again.stdout, said(again)
    assert [identifier for identifier, _ in queue(typist.cluster)] == [job]


def _installed(tree: Path) -> str:
    """A Python of its own in which the tree is installed editable, beside all that this one has."""
    place = tree.with_name("venv")
    venv.create(place, with_pip=False)
    python, site = str(place / "bin" / "python"), sysconfig.get_path("purelib", vars={"base": str(place)})
    Path(site, "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", tree], check=True)
    where = subprocess.run(
        [python, "-c", "import golang; print(golang.__file__)"], cwd="/", capture_output=True, text=True, check=True
    )
    assert Path(where.stdout.strip()).is_relative_to(tree)
    return python


def test_a_broken_working_tree_changes_nothing_for_a_queued_run(typist: Typist) -> None:
    """Two runs of the same settings: one from a tree that is installed editable and broken while the run waits; one
    from a tree that is left in peace."""
    tree = typist.folder / "tree"
    tree.mkdir()
    for part in ("golang", "launch", "configs"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("run.py", "pyproject.toml", "README.md", "LICENSE", "setup.py"):
        shutil.copy(ROOT / file, tree)
    (tree / "launch" / "server.pem").write_text("secret")
    (tree / "golang" / "api_key.json").write_text("{}")
    other = Typist(typist.cluster, typist.folder, typist.settings, root=tree, python=_installed(tree))
    small = ["optim.epochs=2", "cluster.tasks_per_node=1"]
    done = other.type(HOLD, *small, "sweep=broken")
    assert done.returncode == 0, said(done)
    (broken,) = typist.runs("broken")
    for file in [*tree.glob("golang/**/*.py"), *tree.glob("launch/**/*.py")]:
        file.write_text("raise RuntimeError('this tree is broken')\n")
    typist.cluster.run("scontrol", "release", broken.job)
    (whole,) = typist.submit(*small, sweep="whole")
    broken.wait_done()
    whole.wait_done()
    states = [final_state(run.path) for run in (broken, whole)]
    for state in states:
        state["config"].pop("sweep")
    assert differences(*states) == []
    assert metrics(broken.path) == metrics(whole.path)
    kept = [path.name for path in (typist.folder / "runs/broken/code").rglob("*")]
    assert "entry.py" in kept and "server.pem" not in kept and "api_key.json" not in kept


def test_a_failed_run_takes_todays_code_and_says_so(typist: Typist) -> None:
    (run,) = typist.submit(HOLD, sweep="code")
    typist.cluster.run("scancel", run.job)
    overrides = json.loads((run.path / "overrides.yaml").read_text())
    tree = typist.folder / "older"
    shutil.copytree(run.path.parent / "code" / overrides["code"], tree)
    (tree / "golang/__init__.py").write_text("# older\n" + (tree / "golang/__init__.py").read_text())
    old = snapshot.take(run.path.parent, tree).name
    (run.path / "overrides.yaml").write_text(json.dumps(overrides | {"code": old}))
    frozen = typist.type(HOLD, "sweep=code", "code=frozen")
    assert "1 submitted" in frozen.stdout and f"its code of before ({old})" in frozen.stdout, said(frozen)
    assert f"code/{old}" in (run.path / "job.sbatch").read_text()
    typist.cluster.run("scancel", typist.runs("code")[0].job)
    current = typist.type(HOLD, "sweep=code", "cluster.time=30")
    assert "today's code" in current.stdout and f"was {old}" in current.stdout, said(current)
    text = (run.path / "job.sbatch").read_text()
    assert f"code/{old}" not in text and "--time=30" in text


def test_dry_run_submits_and_writes_nothing(typist: Typist) -> None:
    done = typist.type("optim.epochs=1,2", "dry_run=true", "sweep=dry")
    assert done.returncode == 0 and "#SBATCH --requeue" in done.stdout and "Nothing was submitted" in done.stdout
    assert not (typist.folder / "runs").exists() and queue(typist.cluster) == []
