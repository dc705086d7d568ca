"""Chaos on a real cluster: a grid of runs of 2 nodes × 1 task, struck while they train."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from golang.data.toy.write import write
from tests.resume.harness import judge, launch, settings
from tests.slurm.cluster import Cluster, Config
from tests.slurm.deaths import places
from tests.slurm.release import quick
from tests.slurm.runs import NODES, Seen, Typist, flat

from .faults import CONTROLLER, ENDED, PASSING, WEIGHTS, Target
from .tally import Tally

AT_ONCE = 3
SPARE = 2  # nodes, so that a run whose node is away goes on elsewhere
EPOCHS = 12  # of 5 steps: long enough for several faults
HANG = 12  # seconds
NOW = "PartitionName=now Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0"
SHAPE = ("cluster.tasks_per_node=1", "cluster.max_retries=50", "cluster.time=60", "cluster.lead=30")


def runs(folder: Path, seed: int, faults: int) -> Iterator[Tally]:
    """Runs under faults until that many are spent."""
    dice = random.Random(seed)
    config = settings(
        folder / "toy", log_every_steps=1, data={"workers": 0}, checkpoint={"every_steps": 3},
        optim={"epochs": EPOCHS}, hang_seconds=HANG,
    )  # fmt: skip
    write(folder / "toy", config.data.toy, workers=1)
    undisturbed = folder / "undisturbed"
    if launch(config, undisturbed, NODES, timeout=300) != [0] * NODES:
        raise SystemExit("the run that nobody disturbs did not finish")
    place = Path(tempfile.mkdtemp(prefix="slurm-"))
    options = {"nodes": NODES * AT_ONCE + SPARE, "cpus": 1, "gpus": 0, **quick(NOW)}
    with Cluster(Config(place, **options)) as cluster:  # type: ignore[arg-type]
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

    def going(run: Seen, until: Callable[[Seen], bool]) -> Seen:
        """The run once that is true or it is done. One that only its command brings back gets it typed."""
        deadline = time.monotonic() + 180
        while not run.done and not until(run):
            if run.record()["JobState"] in ENDED and not run.done:
                with CONTROLLER:
                    typist.submit(*again, f"name={name}", sweep="chaos")
                run = next(other for other in typist.runs("chaos") if other.path == run.path)
            if time.monotonic() > deadline:
                raise AssertionError(f"{run.path} stands still: {run.record()}, {run.words()}\n{run.text()[-3000:]}")
            time.sleep(0.1)
        return run

    try:
        while sum(tally.faults.values()) < most and not run.done:
            goal = run.step + dice.randint(1, 12)
            run = going(run, lambda run, goal=goal: len(run.ranks()) == NODES and run.step >= goal)
            if run.done:
                break
            attempts, (fault,) = len(run.attempts), dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if fault(Target(typist.cluster, run, dice)):
                tally.faults[fault.__name__.replace("_", " ")] += 1
                if fault not in PASSING:
                    run = going(run, lambda run, attempts=attempts: len(run.attempts) > attempts)
        run = going(run, lambda run: False)
        tally.duplicated = sum(run.repeated())
        tally.in_place = sum(place > 0 for place in places(run))
        tally.wrong = judge(run.path, undisturbed)
    except Exception as error:  # the other runs go on
        tally.wrong = f"{type(error).__name__}: {str(error)[:2000]}"
    return tally
