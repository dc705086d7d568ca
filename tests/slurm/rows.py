"""The rows of the table: what happens to a run, and what its cause.json is to call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .deaths import (
    failing_device,
    hung_rank,
    killed_in_a_save,
    killed_rank,
    killed_rank_requeued,
    killed_ranks,
    killed_twice_on_one_node,
    killed_while_a_job_waits,
    killed_with_its_script,
)
from .outages import (
    controller_restarted,
    interactive,
    killed_without_controller,
    node_frozen,
    node_killed,
    other_nodes,
    requeue_refused,
)
from .release import release
from .runs import Typist
from .scenarios import (
    Outcome,
    cancelled_at_start,
    cancelled_in_a_save,
    cancelled_in_a_step,
    element,
    grace_missed,
    no_grace,
    preempted,
    suspended,
    terminated,
    time_limit,
    time_limit_missed,
    without_scontrol,
)


@dataclass(frozen=True)
class Row:
    name: str
    scenario: Callable[[Typist, str], Outcome]
    named: str = ""  # what cause.json calls it
    cluster: str = "plain"
    alone: bool = False  # disturbs the whole cluster
    late: str = ""  # what the next attempt ends of on Slurm 24.11

    def names(self) -> set[str]:
        """What the causes of all attempts may be, one after the other, on this machine's Slurm."""
        more = {f"{self.named}, {self.late}"} if self.late and release() == "24.11" else set()
        return {self.named} | more


ROWS = (
    Row("time limit", time_limit, "time limit"),
    Row("time limit, save slower than the lead", time_limit_missed, "time limit"),
    Row("preempted in grace", preempted, "preempted"),
    Row("preempted in grace, user signal", preempted, "preempted", cluster="signalling"),
    Row("preempted without grace", no_grace, "preempted"),
    Row("preempted without grace, user signal", no_grace, "preempted", cluster="signalling"),
    Row("preempted without grace, array element", element(no_grace), "preempted"),
    Row("time limit, array element", element(time_limit), "time limit"),
    Row("scancel in a step, array element", element(cancelled_in_a_step), "cancelled"),
    Row("one rank killed, array element", element(killed_rank), "killed"),
    Row("preempted, save slower than the grace", grace_missed, "preempted"),
    Row("preempted, PreemptMode=CANCEL", preempted, "preempted", cluster="cancelling"),
    Row("suspended and resumed", suspended, cluster="suspending"),
    Row("scancel at the start", cancelled_at_start),
    Row("scancel in a step", cancelled_in_a_step, "cancelled"),
    Row("scancel in a save", cancelled_in_a_save, "cancelled"),
    Row("scancel --signal=TERM", terminated, "terminated"),
    Row("one rank killed", killed_rank, "killed"),
    Row("one rank killed, requeued", killed_rank_requeued, "killed"),
    Row("one rank killed in a save", killed_in_a_save, "killed"),
    Row("one rank killed, a job waits for the nodes", killed_while_a_job_waits, "killed"),
    Row("one rank hangs", hung_rank, "hang"),
    Row("CUDA error of one rank", failing_device, "CUDA or NCCL error"),
    Row("a rank killed twice on one node", killed_twice_on_one_node, "killed", alone=True),  # beside others it may move
    Row("all ranks killed", killed_ranks, "killed"),
    Row("all ranks and the batch shell killed", killed_with_its_script, "killed"),
    Row("requeue refused by the site", requeue_refused, "terminated"),
    Row("no scontrol on the tasks' PATH", without_scontrol, "preempted"),
    Row("interactive allocation", interactive, "terminated"),
    Row("other number of nodes", other_nodes, "cancelled"),
    Row("slurmctld restarted", controller_restarted, alone=True),
    Row("one rank killed while slurmctld is away", killed_without_controller, "killed", alone=True),
    Row("node lost", node_killed, "node lost", alone=True),
    # There the thawed srun ends the step of its own number in the job's next life.
    Row("node frozen, thawed later", node_frozen, "node lost", alone=True, late="killed"),
)
