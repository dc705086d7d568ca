"""What the cluster itself does to runs: nodes die, freeze and change, the controller goes away or refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from .processes import state, wait_for
from .runs import HOLD, NODES, ROOT, TASKS, Typist
from .scenarios import EVERY, Outcome, back


def node_killed(typist: Typist, sweep: str) -> Outcome:
    (run,) = typist.submit(sweep=sweep)
    run.hold_at(4)
    node = run.nodes[-1]
    blow, reached = time.monotonic(), run.step
    typist.cluster.kill_node(node)
    run.signal(signal.SIGCONT)
    run.wait(lambda run: run.record()["Restarts"] == "1", 60, "requeued")
    typist.cluster.start_node(node, wait=False)
    return back(run, blow, reached)


def node_frozen(typist: Typist, sweep: str) -> Outcome:
    """Slurm takes the node for lost and starts the run elsewhere; then the old ranks thaw."""
    (run,) = typist.submit(sweep=sweep)
    old = run.hold_at(4)
    nodes = run.nodes
    blow, reached = time.monotonic(), run.step
    for node in nodes:
        typist.cluster.freeze_node(node)
    run.wait(lambda run: run.record()["Restarts"] == "1", 60, "requeued")
    run.wait(lambda run: len(run.attempts) == 2 and run.step > reached, 120, "back")
    lost = time.monotonic() - blow
    for node in nodes:
        typist.cluster.thaw_node(node)
    run.wait_done()
    wait_for(lambda: {state(pid) for pid in old.values()} <= {"", "Z", "X"}, 60, "the zombies gone")
    return run, lost


def controller_restarted(typist: Typist, sweep: str) -> Outcome:
    (run,) = typist.submit(sweep=sweep)
    run.hold_at(4)
    typist.cluster.restart_controller()
    run.signal(signal.SIGCONT)
    run.wait_done()
    assert len(run.attempts) == 1
    return run, None


def killed_without_controller(typist: Typist, sweep: str) -> Outcome:
    """Nobody answers when the batch script asks what to do: it asks until somebody does."""
    (run,) = typist.submit(sweep=sweep)
    ranks = run.hold_at(2 * EVERY + 1)
    blow, reached = time.monotonic(), run.step
    with ThreadPoolExecutor(1) as aside:
        back_again = aside.submit(typist.cluster.restart_controller, 20)
        wait_for(lambda: not typist.cluster.answers(), 20, "the controller away")
        typist.cluster.run("kill", "-KILL", str(ranks[2]))
        run.signal(signal.SIGCONT)
        back_again.result()
    return back(run, blow, reached)


def requeue_refused(typist: Typist, sweep: str) -> Outcome:
    """The site lets no job go back: the run says that it needs its command again."""
    (run,) = typist.submit(sweep=sweep)
    run.hold_at(4)
    typist.cluster.run("scontrol", "update", f"JobId={run.job}", "Requeue=0")
    typist.cluster.run("scancel", "--signal=TERM", run.job)
    run.signal(signal.SIGCONT)
    run.wait(lambda run: run.words()[-1] == "stopped", 60, "stopped")
    assert "type the same command again" in run.events()[-1]["reason"]
    typist.cluster.wait_job(run.job, ("FAILED", "COMPLETED"), 60)
    (again,) = typist.submit(sweep=sweep)
    return again.wait_done(), None


def interactive(typist: Typist, sweep: str) -> Outcome:
    """A run in someone's own allocation saves, and puts nothing into the queue."""
    (run,) = typist.submit(HOLD, sweep=sweep)
    typist.cluster.run("scancel", run.job)
    shape = [f"--nodes={NODES}", f"--ntasks-per-node={TASKS}", "--exclusive", f"--job-name={sweep}"]
    environment = typist.cluster.environment() | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = ["salloc", *shape, "srun", sys.executable, "-m", "launch.node.entry", str(run.path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as allocation:
        run.wait_step(4)
        queued = ["squeue", "--noheader", "--format=%i", f"--name={sweep}"]
        job = typist.cluster.run(*queued).stdout.strip()
        typist.cluster.run("scancel", "--signal=TERM", job)
        allocation.wait(60)
    assert run.words()[-1] == "stopped" and typist.cluster.run(*queued).stdout.strip() == ""
    (again,) = typist.submit(sweep=sweep)
    return again.wait_done(), None


def other_nodes(typist: Typist, sweep: str) -> Outcome:
    """The same four ranks on four nodes instead of two."""
    (run,) = typist.submit(sweep=sweep)
    run.hold_at(5)
    typist.cluster.run("scancel", run.job)
    run.wait(lambda run: not run.ranks(), 30, "without ranks")
    typist.cluster.wait_job(run.job, "CANCELLED")
    shape = (f"cluster.nodes={NODES * TASKS}", "cluster.tasks_per_node=1")
    (again,) = typist.submit(*shape, sweep=sweep)
    assert again.path == run.path
    return again.wait_done(), None
