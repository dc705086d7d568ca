"""How Slurm stops a run, on two nodes with two tasks each: it comes back by itself and ends bit for bit as a run that
nobody stopped; `make test-slurm` has the whole table. The causes share one cluster and go on side by side; each test
waits for its own.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from golang.config import Config
from golang.data.toy.write import write
from tests.resume.harness import final_state, judge, launch, settings

from .cluster import Cluster
from .conftest import _running
from .release import restarts_after_grace
from .runs import NODES, TASKS, Seen, Typist, flat, preempt
from .scenarios import EVERY, no_grace, time_limit

pytestmark = pytest.mark.long  # five runs of four tasks at once; and Slurm looks at the clock twice a minute
KILL_WAIT = 5  # a sixth of Slurm's own default


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Room for three runs at once; partition `low` gives 10 s of grace, `now` none."""
    now = "PartitionName=now Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0"
    with _running(request, nodes=3 * NODES, cpus=TASKS, kill_wait=KILL_WAIT, extra=(now,)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("data") / "toy"
    config = settings(
        root,
        log_every_steps=1,
        data={"workers": 0},
        checkpoint={"every_steps": EVERY},
    )
    write(root, config.data.toy, workers=1)
    return config


@pytest.fixture(scope="module")
def outcomes(cluster: Cluster, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """What becomes of each cause, and of the run that nobody stops."""
    typist = Typist(cluster, tmp_path_factory.mktemp("typed"), flat(config.to_dict()))
    undisturbed = tmp_path_factory.mktemp("undisturbed") / "run"
    rows = [time_limit, no_grace]
    with ThreadPoolExecutor(len(rows) + 4) as pool:
        futures = {row.__name__: pool.submit(lambda row=row: row(typist, row.__name__)[0]) for row in rows}
        futures["cancelled"] = pool.submit(cancelled, typist)
        # Two runs of one array that differ in their names alone.
        first, second = typist.submit("name=killed_rank,grace", "cluster.partition=low", sweep="array")
        assert (first.job, second.job) == (f"{first.job.partition('_')[0]}_0", f"{first.job.partition('_')[0]}_1")
        futures["killed_rank"] = pool.submit(killed_rank, typist, first)
        futures["grace"] = pool.submit(grace, typist, second)
        futures["undisturbed"] = pool.submit(_undisturbed, config, undisturbed)
        yield futures


def _undisturbed(config: Config, path: Path) -> Path:
    assert launch(config, path, ranks=NODES * TASKS, timeout=300) == [0] * NODES * TASKS
    return path


def grace(typist: Typist, run: Seen) -> Seen:
    run.hold_at(4)
    preempt(typist.cluster, run)
    return run.wait_done()


def killed_rank(typist: Typist, run: Seen) -> Seen:
    ranks = run.hold_at(2 * EVERY + 1)
    assert sorted(ranks) == [0, 1, 2, 3]
    (typist.folder / "reached").write_text(str(run.step))
    typist.cluster.run("kill", "-KILL", str(ranks[2]))
    run.signal(signal.SIGCONT)
    killed = time.monotonic()
    run.wait(lambda run: not set(run.ranks().values()) & set(ranks.values()), 30, "without its first ranks")
    (typist.folder / "seconds").write_text(f"{time.monotonic() - killed:.2f}")
    return run.wait_done()


def cancelled(typist: Typist) -> Seen:
    """Ends for good, within KillWait; typed again, the command continues."""
    (run,) = typist.submit(sweep="cancelled")
    run.hold_at(5)
    typist.cluster.run("scancel", run.job)
    begun = time.monotonic()
    run.wait(lambda run: not run.ranks(), 2 * KILL_WAIT, "without ranks after scancel")
    assert time.monotonic() - begun < KILL_WAIT + 1
    fields = typist.cluster.wait_job(run.job, "CANCELLED")
    assert fields["Restarts"] == "0"
    time.sleep(7)  # longer than a requeued job would stay away
    assert run.record()["JobState"] == "CANCELLED"
    assert run.words()[-1] == "cancelled"
    assert list(run.path.glob("checkpoints/step_*.pt"))
    assert final_state(run.path)["step"] >= 5
    (again,) = typist.submit(sweep="cancelled")
    assert again.path == run.path and again.job != run.job
    return again.wait_done()


def check(outcomes: dict[str, Future], name: str, quiet: bool = True) -> Seen:
    """The run's end: bit for bit the undisturbed one's, in two or more attempts, and without a word too many."""
    run, undisturbed = outcomes[name].result(), outcomes["undisturbed"].result()
    assert judge(run.path, undisturbed) == ""
    assert len(run.attempts) >= 2
    if quiet:
        assert "Traceback" not in run.text()
        assert "Error" not in run.text()
    print(f"{name}: {len(run.attempts)} attempts, steps repeated {run.repeated()}, {run.words()}")
    return run


def test_time_limit(outcomes: dict[str, Future]) -> None:
    run = check(outcomes, "time_limit")
    assert run.record()["Restarts"] != "0"
    assert next(line["cause"] for line in run.events() if line["event"] == "requeued") == "time limit"
    assert sum(run.repeated()) == 0


def test_preemption_with_grace_of_one_element_of_an_array(outcomes: dict[str, Future]) -> None:
    run = check(outcomes, "grace")
    assert run.record()["Restarts"] in restarts_after_grace()
    assert sum(run.repeated()) == 0
    assert [line.get("cause") for line in run.events() if line["event"] == "requeued"] == ["preempted"]
    other = outcomes["killed_rank"].result()
    assert other.job.partition("_")[0] == run.job.partition("_")[0] and run.job.endswith("_1")
    assert (len(run.attempts), len(other.attempts)) == (2, 2)  # each came back for its own cause


def test_preemption_without_grace(outcomes: dict[str, Future]) -> None:
    run = check(outcomes, "no_grace")
    assert run.record()["Restarts"] == "1"
    assert sum(run.repeated()) == 0


def test_one_rank_killed(outcomes: dict[str, Future]) -> None:
    run = check(outcomes, "killed_rank", quiet=False)
    folder = run.path.parents[2]
    reached, seconds = int((folder / "reached").read_text()), float((folder / "seconds").read_text())
    resumed = [line["resumes"] for line in run.events() if line["event"] == "attempt"][1]
    print(f"killed_rank: all ranks gone after {seconds} s; reached {reached}, resumed at {resumed}")
    assert seconds <= 10
    assert resumed >= 2 * EVERY and reached - resumed <= EVERY + 1
    assert [line["event"] for line in run.events() if line.get("by") == "batch script"] == ["restarted"]
    assert run.record()["Restarts"] == "0"


def test_cancelled_for_good(outcomes: dict[str, Future]) -> None:
    run = check(outcomes, "cancelled")
    assert sum(run.repeated()) == 0
