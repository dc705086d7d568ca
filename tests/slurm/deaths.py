"""Tasks that die or hang: they start again on the nodes of their job, or it goes back into the queue."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from .processes import state
from .runs import NODES, Seen, Typist
from .scenarios import EVERY, Outcome, back, slow_disk

REQUEUED = "cluster.restart_in_place=0"
FAILING = """
import os, sys, threading, time
def fail():
    while not hasattr(sys.modules.get("golang.engine.session"), "Session"):
        time.sleep(0.01)
    session = sys.modules["golang.engine.session"].Session
    step = session.step
    def failing(self, done):
        if done == {step}:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return step(self, done)
    session.step = failing
if os.environ.get("SLURM_PROCID") == "2" and "GOLANG_IN_PLACE" not in os.environ:
    threading.Thread(target=fail, daemon=True).start()
"""


def places(run: Seen) -> list[int]:
    """Of each attempt, how often tasks had started again in its life of the job."""
    return [line.get("in_place", 0) for line in run.events() if line["event"] == "attempt"]


def stayed(outcome: Outcome) -> Outcome:
    """The run's second attempt began in the allocation of the first."""
    run, _ = outcome
    assert places(run) == [0, 1] and run.words().count("restarted") == 1, run.events()
    assert run.record()["Restarts"] == "0"
    return outcome


def killed(typist: Typist, sweep: str, victims: Callable[[dict[int, int]], list[int]], *overrides: str) -> Outcome:
    (run,) = typist.submit(*overrides, sweep=sweep)
    ranks = run.hold_at(2 * EVERY + 1)
    blow, reached = time.monotonic(), run.step
    typist.cluster.run("kill", "-KILL", *map(str, victims(ranks)))
    run.signal(signal.SIGCONT)
    return back(run, blow, reached)


def killed_rank(typist: Typist, sweep: str) -> Outcome:
    return stayed(killed(typist, sweep, lambda ranks: [ranks[2]]))


def killed_ranks(typist: Typist, sweep: str) -> Outcome:
    return stayed(killed(typist, sweep, lambda ranks: list(ranks.values())))


def killed_rank_requeued(typist: Typist, sweep: str) -> Outcome:
    run, lost = killed(typist, sweep, lambda ranks: [ranks[2]], REQUEUED)
    assert places(run) == [0, 0] and run.record()["Restarts"] == "1"
    return run, lost


def killed_in_a_save(typist: Typist, sweep: str) -> Outcome:
    (run,) = typist.submit(slow_disk(typist, sweep, step=6, seconds=3), sweep=sweep)
    run.wait(lambda run: list(run.path.glob("checkpoints/.step_00000006.*.tmp")), 120, "saving")
    blow, reached = time.monotonic(), run.step
    typist.cluster.run("kill", "-KILL", str(run.ranks()[0]))
    return stayed(back(run, blow, reached))


def hung_rank(typist: Typist, sweep: str) -> Outcome:
    """Silent, but there: the others end the attempt after `hang_seconds`, and srun the silent one."""
    (run,) = typist.submit("hang_seconds=8", sweep=sweep)
    ranks = run.hold_at(2 * EVERY + 1)
    blow, reached = time.monotonic(), run.step
    for rank in (0, 1, 3):
        typist.cluster.run("kill", "-CONT", str(ranks[rank]))
    run.wait(lambda run: state(ranks[2]) in ("", "Z", "X"), 60, "rid of the silent rank")
    return stayed(back(run, blow, reached))


def failing_device(typist: Typist, sweep: str) -> Outcome:
    folder = typist.folder / f"device_{sweep}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAILING.format(step=2 * EVERY + 1))
    (run,) = typist.submit(f"cluster.env.PYTHONPATH={folder}", sweep=sweep)
    run.wait(lambda run: "restarted" in run.words(), 180, "started again")
    return stayed(back(run, time.monotonic(), run.step))


def killed_while_a_job_waits(typist: Typist, sweep: str) -> Outcome:
    """It waits for these nodes, and a requeue would give them to it: it gets them once the run is done."""
    (run,) = typist.submit(sweep=sweep)
    ranks = run.hold_at(2 * EVERY + 1)
    shape = [f"--nodelist={run.record()['NodeList']}", f"--nodes={NODES}", "--exclusive", "--output=/dev/null"]
    waiting = typist.cluster.run("sbatch", "--parsable", *shape, "--wrap=true").stdout.strip()
    blow, reached = time.monotonic(), run.step
    typist.cluster.run("kill", "-KILL", str(ranks[2]))
    run.signal(signal.SIGCONT)
    outcome = stayed(back(run, blow, reached))
    began = typist.cluster.wait_job(waiting, "COMPLETED", 60)["StartTime"]
    assert began >= run.record()["EndTime"]
    return outcome


def killed_twice_on_one_node(typist: Typist, sweep: str) -> Outcome:
    """First it starts again there; then it goes back into the queue, and the next attempt leaves that node out."""
    (run,) = typist.submit(sweep=sweep)
    run.hold_at(2)
    blow, reached, node = time.monotonic(), run.step, run.nodes[1]
    typist.cluster.run(
        "kill", "-KILL", str(run.ranks()[2])
    )  # ranks 0 and 1 are on the first node, 2 and 3 on the other
    run.signal(signal.SIGCONT)
    run.wait(lambda run: len(run.attempts) == 2, 120, "in its second attempt")
    ranks = run.hold_at(run.step + 1)
    blow, reached = time.monotonic(), run.step
    typist.cluster.run("kill", "-KILL", str(ranks[2 * run.nodes.index(node)]))
    run.signal(signal.SIGCONT)
    run, lost = back(run, blow, reached)
    assert places(run) == [0, 1, 0] and run.record()["Restarts"] == "1"
    assert run.record()["ExcNodeList"] == node and node not in run.nodes
    assert any(line["event"] == "note" and node in line["reason"] for line in run.events())
    return run, lost


def killed_with_its_script(typist: Typist, sweep: str) -> Outcome:
    """Nobody is left to ask for anything: the same command brings the run back."""
    (run,) = typist.submit(sweep=sweep)
    ranks = run.hold_at(2 * EVERY + 1)
    shells = run.shells()
    assert shells
    typist.cluster.run("kill", "-KILL", *map(str, [*shells, *ranks.values()]))
    typist.cluster.wait_job(run.job, ("FAILED", "CANCELLED", "COMPLETED"), 60)
    run.wait(lambda run: not run.ranks(), 30, "gone")
    (again,) = typist.submit(sweep=sweep)
    return again.wait_done(), None
