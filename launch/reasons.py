"""Why Slurm lets a job wait: what comes by itself, and what waits for ever, with the command that ends that."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from launch.text import shown

NEVER = "DependencyNeverSatisfied"  # unless asked to, Slurm does not cancel a job of that reason
_RUNS = Path("runs")  # where `python -m launch` looks by itself


class Kind(enum.Enum):
    """Who ends a wait."""

    COMES = "time"
    NODES = "time, as nodes come back"
    LIMIT = "time, as other jobs end; a person where the job alone is above the limit"
    HELD = "a person, or the launcher where no person held the job"
    STUCK = "a person"


@dataclass(frozen=True)
class Reason:
    """What one of Slurm's words for a waiting job means."""

    kind: Kind
    why: str = ""
    ends: str = ""  # what a person does: {release} and {cancel} stand for commands about the job

    @property
    def stuck(self) -> bool:
        return self.kind in (Kind.HELD, Kind.STUCK)

    def say(self, said: str, job: str, run: Path) -> str:
        """The sentence for a person: Slurm's own words `said`, what they mean, and what to type."""
        near = run.resolve().parent.parent == _RUNS.resolve()
        cancel = f"python -m launch cancel {job if near else shown([str(run)])}"
        ends = self.ends.format(release=f"scontrol release {job}", cancel=cancel)
        return f"{said}: {self.why}; {ends}" if self.why else said


def find(said: str) -> Reason:
    """What a reason means, as squeue or scontrol print it. One that is not known here comes by itself."""
    word = re.split(r"[,:]", said.strip("() "))[0].replace("_", " ").strip()
    return next((reason for pattern, reason in _TABLE.items() if re.fullmatch(pattern, word, re.IGNORECASE)), _COMES)


def above(why: str) -> Reason:
    """Of a limit for jobs together, where the job alone is above it."""
    return _stuck(why, f"less of that, or another cluster.account or cluster.qos; {_LIMITS}")


def _stuck(why: str, settings: str) -> Reason:
    return Reason(Kind.STUCK, why, f"{{cancel}}, then type the command with {settings}")


_COMES = Reason(Kind.COMES)
_LIMITS = "`sacctmgr show assoc user=$USER` and `sacctmgr show qos` show the limits"
_RELEASE = "{release} (where Slurm refuses that, an administrator has to)"
# The first that fits the whole of a reason, up to a comma or a colon, counts.
_TABLE = {
    "JobHeldUser": Reason(Kind.STUCK, "held by its owner", "{release}"),
    "JobHeldAdmin": Reason(Kind.HELD, "held by Slurm or by an administrator", _RELEASE),
    "launch failed requeued held": Reason(
        Kind.HELD, "Slurm could not start it on a node, and has held it since", _RELEASE
    ),
    "job requeued in held state": Reason(Kind.HELD, "put back in the queue and held there", _RELEASE),
    "JobHoldMaxRequeue": Reason(Kind.HELD, "Slurm put it back as often as the site allows, and holds it", _RELEASE),
    "BadConstraints": Reason(
        Kind.HELD,
        "no node has what it asks for, and Slurm holds it",
        "{cancel}, then type the command with another cluster.constraint, nodelist, nodes, gpus_per_node or mem; if "
        "nodes were missing and are back, {release}",
    ),
    NEVER: Reason(
        Kind.STUCK,
        "the job it waits for failed or was cancelled",
        "the same command submits it again (with another cluster.dependency, if you set one)",
    ),
    "PartitionTimeLimit": _stuck(
        "its time limit is above its partition's",
        "a shorter cluster.time or another cluster.partition (`sinfo -o '%P %l'` shows the limits)",
    ),
    "PartitionNodeLimit": _stuck(
        "its partition has not that many nodes for one job", "another cluster.nodes or cluster.partition"
    ),
    "Partition(Down|Inactive)": Reason(
        Kind.STUCK,
        "its partition is closed until an administrator opens it",
        "wait for that (`sinfo -s`), or {cancel} and type the command with another cluster.partition",
    ),
    "AccountNotAllowed|InvalidAccount": _stuck(
        "its account is unknown, or may not use its partition",
        f"another cluster.account or cluster.partition; {_LIMITS}",
    ),
    "QOSNotAllowed|InvalidQOS": _stuck(
        "its QOS is unknown, or not for its account or partition", f"another cluster.qos; {_LIMITS}"
    ),
    "Reservation(Deleted|Invalid)": _stuck(
        "its reservation is gone or not for it",
        "another cluster.reservation or none (`scontrol show reservation` lists them)",
    ),
    "(QOS|Assoc)MaxWallDurationPerJobLimit|QOSTimeLimit|AssociationTimeLimit": _stuck(
        "its time limit is above what its QOS or account gives a job",
        f"a shorter cluster.time or another cluster.qos; {_LIMITS}",
    ),
    "(QOS|Assoc)Max.*MinutesPerJob(Limit)?": _stuck(
        "it asks for more, times its time limit, than its QOS or account gives a job",
        f"a shorter cluster.time, or fewer cluster.nodes and the like; {_LIMITS}",
    ),
    "(QOS|Assoc)Max.*Per(Job|Node)(Limit)?": _stuck(
        "it asks for more than its QOS or account gives a job",
        f"a smaller cluster.nodes, gpus_per_node, cpus_per_task or mem, or another cluster.qos; {_LIMITS}",
    ),
    "QOSMin.*": _stuck("it asks for less than its QOS demands", f"more of that, or another cluster.qos; {_LIMITS}"),
    "MaxMemPerLimit": _stuck(
        "it asks for more memory than the site gives a job", "a smaller cluster.mem, mem_per_cpu or mem_per_gpu"
    ),
    "(QOS|Assoc)Grp.*(?<!Run)Minutes(Limit)?|(QOS|Assoc)GrpWallLimit": Reason(
        Kind.STUCK,
        "the budget of its account or QOS is used up, until it is raised or begins anew",
        f"ask for more, or {{cancel}} and type the command with another cluster.account or cluster.qos; {_LIMITS}",
    ),
    "DeadLine": _stuck("it can't end before its deadline", "another cluster.extra.deadline or a shorter cluster.time"),
    "BurstBufferOperation": Reason(
        Kind.STUCK, "its burst buffer failed, and Slurm holds it", "once that is mended, {release}"
    ),
    "(QOS|Assoc)(Grp|Max).*|Max.*Per(Account|User)|QOS(Job|Resource)Limit|QOSUsageThreshold|"
    "Association(Job|Resource)Limit|AccountingPolicy": Reason(
        Kind.LIMIT,
        "a limit for several jobs together: it comes as others end, unless it is above that alone",
        _LIMITS,
    ),
    "ReqNodeNotAvail|Nodes required for job are DOWN|NodeDown|FrontEndDown": Reason(
        Kind.NODES, "nodes that it needs are down, drained or reserved", "`sinfo -R` says why"
    ),
}
