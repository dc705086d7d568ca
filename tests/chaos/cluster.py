"""Chaos on a real cluster: a grid of runs of 2 nodes × 1 task, struck while they train."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from golang.data.toy import write
from tests.resume.harness import launch, settings
from tests.slurm.cluster import Cluster, Config
from tests.slurm.runs import NODES, Seen, Typist, flat

from .tally import Tally, judge

AT_ONCE = 3
EPOCHS = 12  # of 5 steps: long enough for several faults
NOW = "PartitionName=now Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0"
SHAPE = ("cluster.tasks_per_node=1", "cluster.max_retries=50")


def runs(folder: Path, seed: int, faults: int) -> Iterator[Tally]:
    """Runs under faults until that many are spent."""
    dice = random.Random(seed)
    config = settings(
        folder / "toy", log_every_steps=1, data={"workers": 0}, checkpoint={"every_steps": 3},
        optim={"epochs": EPOCHS},
    )  # fmt: skip
    write(folder / "toy", config.data.toy, workers=1)
    undisturbed = folder / "undisturbed"
    if launch(config, undisturbed, NODES, timeout=300) != [0] * NODES:
        raise SystemExit("the run that nobody disturbs did not finish")
    place = Path(tempfile.mkdtemp(prefix="slurm-"))
    options = {"nodes": NODES * AT_ONCE, "cpus": 1, "gpus": 0, "slurmd_timeout": 3}
    with Cluster(Config(place, extra=(NOW, "MessageTimeout=3", "TCPTimeout=1"), **options)) as cluster:  # type: ignore[arg-type]
        typist = Typist(cluster, folder, flat(config.to_dict()))
        spent = number = 0
        while spent < faults:
            share = [(faults - spent) // AT_ONCE + (i < (faults - spent) % AT_ONCE) for i in range(AT_ONCE)]
            names = [f"run{number + i}" for i, most in enumerate(share) if most]
            number += len(names)
            partition = dice.choice(["low", "now"])
            typist.submit(*SHAPE, f"cluster.partition={partition}", "name=" + ",".join(names), sweep="chaos")
            found = typist.runs("chaos")[-len(names) :]
            seeds = [dice.randrange(2**32) for _ in names]
            again = [*SHAPE, f"cluster.partition={partition}"]
            with ThreadPoolExecutor(len(names)) as pool:
                arguments = zip(names, found, seeds, [most for most in share if most], strict=True)
                tallies = list(pool.map(lambda a: _one(typist, again, *a, undisturbed), arguments))  # noqa: B023
            spent += sum(sum(tally.faults.values()) for tally in tallies)
            yield from tallies


def _one(typist: Typist, again: list[str], name: str, run: Seen, seed: int, most: int, undisturbed: Path) -> Tally:
    dice, tally = random.Random(seed), Tally(run.path)
    try:
        while sum(tally.faults.values()) < most and not run.done:
            goal = run.step + dice.randint(1, 12)
            run.wait(lambda run, goal=goal: run.done or (len(run.ranks()) == NODES and run.step >= goal), 180, "there")
            if run.done:
                break
            attempts, fault = len(run.attempts), dice.choice(FAULTS)
            if fault(typist, run, dice):
                tally.faults[fault.__name__.replace("_", " ")] += 1
                run = _back(typist, again, name, run, attempts)
        run.wait_done()
        tally.duplicated = sum(run.repeated())
        tally.wrong = judge(run.path, undisturbed)
    except Exception as error:  # the other runs go on
        tally.wrong = f"{type(error).__name__}: {str(error)[:2000]}"
    return tally


def _back(typist: Typist, again: list[str], name: str, run: Seen, attempts: int) -> Seen:
    """Waits for the next attempt; a run that only its command brings back gets it typed."""
    deadline = time.monotonic() + 120
    while len(run.attempts) <= attempts and not run.done:
        state = run.record()["JobState"]
        if state in ("CANCELLED", "FAILED", "COMPLETED", "NODE_FAIL") and not run.done:
            typist.submit(*again, f"name={name}", sweep="chaos")
            run = next(r for r in typist.runs("chaos") if r.path == run.path)
        if time.monotonic() > deadline:
            raise AssertionError(f"{run.path} did not come back: {state}, {run.words()}\n{run.text()[-3000:]}")
        time.sleep(0.3)
    return run


def preempted(typist: Typist, run: Seen, dice: random.Random) -> bool:
    nodes = run.record()["NodeList"]
    typist.cluster.run(
        "sbatch", "--partition=high", f"--nodelist={nodes}", f"--nodes={NODES}", "--exclusive", "--output=/dev/null",
        "--wrap=sleep 1",
    )  # fmt: skip
    return True


def terminated(typist: Typist, run: Seen, dice: random.Random) -> bool:
    return typist.cluster.run("scancel", "--signal=TERM", run.job, check=False).returncode == 0


def warned(typist: Typist, run: Seen, dice: random.Random) -> bool:
    return typist.cluster.run("scancel", "--signal=USR2", run.job, check=False).returncode == 0


def rank_killed(typist: Typist, run: Seen, dice: random.Random) -> bool:
    return _kill(dice.sample(sorted(run.ranks().values()), 1) if run.ranks() else [])


def ranks_killed(typist: Typist, run: Seen, dice: random.Random) -> bool:
    return _kill(list(run.ranks().values()))


def cancelled_and_typed_again(typist: Typist, run: Seen, dice: random.Random) -> bool:
    typist.cluster.run("scancel", run.job)
    run.wait(lambda run: not run.ranks(), 60, "gone")
    return True


def requeued_by_an_operator(typist: Typist, run: Seen, dice: random.Random) -> bool:
    return typist.cluster.run("scontrol", "requeue", run.job, check=False).returncode == 0


FAULTS = (
    preempted, preempted, terminated, warned, rank_killed, ranks_killed, cancelled_and_typed_again,
    requeued_by_an_operator,
)  # fmt: skip


def _kill(pids: list[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)
