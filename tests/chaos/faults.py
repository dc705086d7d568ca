"""What can happen to a run on a cluster: each fault strikes one run, and says whether it found something to strike."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.slurm.cluster import Cluster
from tests.slurm.runs import NODES, Seen

from .tally import damage

ENDED = ("CANCELLED", "FAILED", "COMPLETED", "NODE_FAIL")
NODE, CONTROLLER = threading.Lock(), threading.Lock()  # one node is away at a time; nobody types without a controller


@dataclass(frozen=True)
class Target:
    """A run on a cluster, and the dice that decide what its fault leaves open."""

    cluster: Cluster
    run: Seen
    dice: random.Random

    def send(self, number: signal.Signals, pids: Iterable[int]) -> bool:
        struck = False
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                struck = True
        return struck

    def ask(self, *command: str) -> bool:
        return self.cluster.run(*command, check=False).returncode == 0

    def wait_gone(self, restarts: str) -> None:
        """Until Slurm knows that the job's life after so many restarts is over."""

        def gone(run: Seen) -> bool:
            record = run.record()
            return run.done or record["Restarts"] != restarts or record["JobState"] in ENDED

        self.run.wait(gone, 90, "given up by Slurm")


def preempted(target: Target) -> bool:
    nodes = target.run.record()["NodeList"]
    return target.ask(
        "sbatch", "--partition=high", f"--nodelist={nodes}", f"--nodes={NODES}", "--exclusive", "--output=/dev/null",
        "--wrap=sleep 1",
    )  # fmt: skip


def terminated(target: Target) -> bool:
    return target.ask("scancel", "--signal=TERM", target.run.job)


def warned(target: Target) -> bool:
    return target.ask("scancel", "--signal=USR2", target.run.job)


def requeued_by_an_operator(target: Target) -> bool:
    return target.ask("scontrol", "requeue", target.run.job)


def out_of_time(target: Target) -> bool:
    """With time for a last save or without; back in the queue, the job gets its time again."""
    restarts = target.run.record()["Restarts"]
    target.send(signal.SIGSTOP, target.run.ranks().values())  # Slurm looks at the clock twice a minute
    struck = target.ask("scontrol", "update", f"JobId={target.run.job}", f"EndTime=now+{target.dice.choice([5, 59])}")
    if struck:
        target.wait_gone(restarts)
    target.send(signal.SIGCONT, target.run.ranks().values())
    target.ask("scontrol", "update", f"JobId={target.run.job}", "TimeLimit=60")
    return struck


def cancelled_and_typed_again(target: Target) -> bool:
    struck = target.ask("scancel", target.run.job)
    target.run.wait(lambda run: not run.ranks(), 60, "gone")
    return struck


def suspended(target: Target) -> bool:
    struck = target.ask("scontrol", "suspend", target.run.job)
    time.sleep(target.dice.uniform(0.5, 4))
    return target.ask("scontrol", "resume", target.run.job) and struck


def rank_killed(target: Target) -> bool:
    ranks = sorted(target.run.ranks().values())
    return target.send(signal.SIGKILL, ranks and [target.dice.choice(ranks)])


def ranks_killed(target: Target) -> bool:
    return target.send(signal.SIGKILL, target.run.ranks().values())


def ranks_killed_and_a_checkpoint_damaged(target: Target) -> bool:
    return ranks_killed(target) and not target.run.done and damage(target.run.path, target.dice)


def ranks_and_batch_shell_killed(target: Target) -> bool:
    struck = target.send(signal.SIGKILL, [*target.run.shells(), *target.run.ranks().values()])
    target.run.wait(lambda run: run.done or run.record()["JobState"] in ENDED, 60, "ended")
    return struck


def rank_killed_and_again_at_its_start(target: Target) -> bool:
    """Tasks that start again on the same nodes are struck before they have begun an attempt, or soon after."""
    before = set(target.run.ranks().values())
    if not rank_killed(target):
        return False
    target.run.wait(lambda run: run.done or set(run.ranks().values()) - before, 90, "started again")
    time.sleep(target.dice.uniform(0, 4))
    return rank_killed(target) or target.run.done


def ranks_killed_and_preempted(target: Target) -> bool:
    """While the batch script decides whether they start again, or just after."""
    struck = ranks_killed(target)
    time.sleep(target.dice.uniform(0, 3))
    return preempted(target) and struck


def rank_frozen(target: Target) -> bool:
    """The other one waits for it in a collective: a hang."""
    ranks = sorted(target.run.ranks().values())
    return target.send(signal.SIGSTOP, ranks and [target.dice.choice(ranks)])


def node_lost(target: Target) -> bool:
    with NODE:
        restarts, node = target.run.record()["Restarts"], target.dice.choice(target.run.nodes)
        target.cluster.kill_node(node)
        try:
            target.wait_gone(restarts)
        finally:
            target.cluster.start_node(node, wait=False)
    return True


def node_frozen(target: Target) -> bool:
    """Given up by Slurm, it thaws before the run's next attempt or in it."""
    with NODE:
        attempts, restarts = len(target.run.attempts), target.run.record()["Restarts"]
        node = target.dice.choice(target.run.nodes)
        target.cluster.freeze_node(node)
        try:
            target.wait_gone(restarts)
            if target.dice.random() < 0.5:
                target.run.wait(lambda run: run.done or len(run.attempts) > attempts, 60, "back")
        finally:
            target.cluster.thaw_node(node)
    return True


def controller_restarted(target: Target) -> bool:
    with CONTROLLER:
        target.cluster.restart_controller(target.dice.choice([0, 8]))
    return True


WEIGHTS: dict[Callable[[Target], bool], int] = {
    preempted: 3,
    terminated: 2,
    warned: 2,
    requeued_by_an_operator: 2,
    out_of_time: 1,
    cancelled_and_typed_again: 2,
    suspended: 2,
    rank_killed: 2,
    ranks_killed: 2,
    ranks_killed_and_a_checkpoint_damaged: 2,
    rank_killed_and_again_at_its_start: 2,
    ranks_killed_and_preempted: 2,
    ranks_and_batch_shell_killed: 1,
    rank_frozen: 1,
    node_lost: 1,
    node_frozen: 1,
    controller_restarted: 1,
}
PASSING = (suspended, controller_restarted)  # the attempt goes on
