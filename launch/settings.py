"""Where runs happen: settings of the launcher, which the science knows nothing of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from golang.config import build, refuse_secret
from golang.config.reading import AT_LEAST_1, Range, check_ranges
from golang.errors import ConfigError
from launch.shape import REPLACING, Shape, shape

LEAD = 120  # seconds before the time limit at which Slurm warns a run whose saves have not been measured
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNED = re.compile(r"""(\w+)=["']?[A-Za-z0-9]""")  # but not from a file or another variable
_OPTION = re.compile(r"[a-z][a-z0-9-]*")
_GPUS = Range(
    re.compile(r"(?:[\w.-]+:)?[1-9]\d*(?:,[\w.-]+:[1-9]\d*)*").fullmatch,
    "be a number of GPUs, or TYPE:NUMBER as in a100:4",
)


@dataclass(frozen=True)
class Cluster:
    """Slurm's own names where Slurm has one; None leaves the choice to Slurm."""

    name: Literal["none", "local", "slurm"] = "none"
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    reservation: str | None = None
    time: str | None = None  # as sbatch takes it: minutes, HH:MM:SS, D-HH:MM:SS
    nodes: Annotated[int, AT_LEAST_1] = 1
    tasks_per_node: Annotated[int | None, AT_LEAST_1] = None  # None: one a GPU, or one
    gpus_per_node: Annotated[str | None, _GPUS] = None  # 4, a100:4
    gpus_per_task: Annotated[str | None, _GPUS] = None
    gres: str | None = None
    cpus_per_task: Annotated[int | None, AT_LEAST_1] = None
    mem: str | None = None
    mem_per_cpu: str | None = None
    mem_per_gpu: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    exclusive: bool = False
    dependency: str | None = None
    parallelism: Annotated[int | None, AT_LEAST_1] = None  # runs of an array at once; on this machine 1 unless given
    # Times a run whose processes died comes back without a new checkpoint in between.
    max_retries: Annotated[int, Range(lambda times: times >= 0, "be at least 0")] = 2
    # Times in one life of a job that tasks which died or hung start again on the same nodes.
    restart_in_place: Annotated[int, Range(lambda times: times >= 0, "be at least 0")] = 3
    lead: Annotated[int | None, AT_LEAST_1] = None  # seconds of warning; None: from the measured time of a save
    python: str | None = None  # the command that runs Python in the job; None: the one that submits
    setup: tuple[str, ...] = ()  # shell lines: modules, conda
    env: dict[str, str] = field(default_factory=dict)
    container: tuple[str, ...] = ()  # arguments of srun, as in [--container-image=…]
    # Any other option of sbatch; "true" for one without a value. ntasks=N, or ntasks-per-node=null, replaces the
    # launcher's own --ntasks-per-node.
    extra: dict[str, str | None] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """Tasks and GPUs of each node. Raises ConfigError where they do not agree."""
        own = {name: getattr(self, name) for name in ("gpus_per_node", "gpus_per_task", "gres")}
        return shape(self.nodes, self.tasks_per_node, own | {f"extra.{key}": text for key, text in self.extra.items()})

    @property
    def tasks(self) -> int:
        """Processes a node."""
        return self.shape.tasks

    @property
    def gpus_here(self) -> int | None:
        """GPUs to use on this machine; None for all."""
        return None if self.gpus_per_node is None else self.shape.gpus

    @property
    def counts_tasks_itself(self) -> bool:
        """Whether `extra` says how many tasks there are, or leaves it to Slurm."""
        return not REPLACING.isdisjoint(self.extra)

    @property
    def options(self) -> dict[str, str]:
        """What `extra` gives to sbatch."""
        return {name: text for name, text in self.extra.items() if text is not None}


@dataclass(frozen=True)
class Notify:
    """Who is told of a run's end."""

    # A shell line, run once when a run has ended for good and once when its sweep is complete, with SWEEP, RUN, STATE
    # (finished, failed, cancelled, stopped; complete), CAUSE and MAP in its environment.
    command: str | None = None


@dataclass(frozen=True)
class Launch:
    """The settings beside the trainer's own."""

    run_dir: str | None = None  # a run's folder, without a cluster; default: runs_dir/sweep/label-id
    runs_dir: str = "runs"
    dry_run: bool = False  # show what would be submitted
    code: Literal["current", "frozen"] = "current"  # frozen: a failed run goes on with the code it started with
    cluster: Cluster = field(default_factory=Cluster)
    notify: Notify = field(default_factory=Notify)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Launch:
        """Checked settings from plain data. Raises ConfigError."""
        launch: Launch = build(cls, values, loose=True)
        check_ranges(launch)
        _check(launch.cluster)
        _check_news(launch.notify.command)
        for key in ("run_dir", "runs_dir"):
            if not (getattr(launch, key) or ".").isprintable():
                raise ConfigError(f"{key}={getattr(launch, key)!r} must be one line of printable text")
        return launch


def seconds(time: str) -> int:
    """A time limit as Slurm writes it, in seconds. Raises ConfigError for one that Slurm would not take."""
    if time.lower() in ("unlimited", "infinite", "-1"):
        return 366 * 86400
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if found is None:
        raise ConfigError(f"cluster.time={time!r} is no time limit; write minutes, HH:MM:SS or D-HH:MM:SS")
    first, second, third = (int(part or 0) for part in found.groups()[1:])
    if found[1] is not None:
        return int(found[1]) * 86400 + first * 3600 + second * 60 + third
    return first * 60 + second if found[4] is None else first * 3600 + second * 60 + third


def _check(cluster: Cluster) -> None:
    """What no single setting's range says. A key or token, which would stand in job.sbatch, is named without its
    value."""
    if cluster.time is not None:
        seconds(cluster.time)
    for name, value in cluster.env.items():
        refuse_secret(f"cluster.env.{name}")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"cluster.env.{name}={value!r}: {name!r} is no name for an environment variable")
    for name, text in cluster.extra.items():
        refuse_secret(f"cluster.extra.{name}")
        if text is None:
            if name != "ntasks-per-node":
                raise ConfigError(
                    f"cluster.extra.{name}=null: leave it out; of the launcher's own options, ntasks-per-node=null is "
                    "not given to sbatch"
                )
            continue
        if not _OPTION.fullmatch(name):
            raise ConfigError(
                f"cluster.extra.{name}={text!r}: write the option as sbatch has it but for its dashes, as in mail-type"
            )
        if name in _OURS:
            raise ConfigError(f"cluster.extra.{name}={text!r}: the launcher sets --{name} itself{_OURS[name]}")
    extra = {f"extra.{name}": value for name, value in cluster.options.items()}
    for place, line in [*(("setup", line) for line in (*cluster.setup, *cluster.container)), *extra.items()]:
        for assigned in _ASSIGNED.finditer(line):
            refuse_secret(f"cluster.{place}: {assigned[1]}")
    options = {name: value for name, value in vars(cluster).items() if isinstance(value, str) and name != "python"}
    for name, value in {**options, **extra}.items():
        if not value or any(ord(character) < 32 for character in value):
            raise ConfigError(
                f"cluster.{name}={value!r} must be one line of text that is not empty; null leaves it out"
            )
    _ = cluster.shape
    if cluster.name == "local" and cluster.nodes != 1:
        raise ConfigError(f"cluster.nodes={cluster.nodes}: cluster=local is this machine alone; use cluster=slurm")


def _check_news(command: str | None) -> None:
    """Raises ConfigError for a line that would put a secret into a file, which it does not show, and for no line."""
    if command is None:
        return
    for assigned in _ASSIGNED.finditer(command):
        refuse_secret(f"notify.command: {assigned[1]}")
    if found := secret_in(command):
        raise ConfigError(
            f"notify.command has in it what looks like {found}, and settings are written to files: keep that in your "
            'environment or in a file of your own, and write "$NAME" or "$(cat ~/.name)" in its place'
        )
    if not command.strip() or any(ord(character) < 32 for character in command):
        raise ConfigError(f"notify.command={command!r} must be one line for a shell; null leaves it out")


def secret_in(text: str) -> str:
    """What in a text looks like a secret, in words; "" if nothing does."""
    return next((what for what, looks in _SECRETS.items() if re.search(looks, text)), "")


_SECRETS = {  # what it looks like; nothing that begins with $ does
    "the address of a webhook": r"hooks\.slack\.com/\w+/\w|/webhooks?\w*/\w|/bot\d+:",
    "a password": r"://[^/\s:@\"'$]*:[^/\s@$\"']+@|(?:^|\s)(?:-u|--user)[ =]?[\"']?[^\s:\"'$]*:[^\s$\"']",
    "a token": r"(?i)(?:authorization|x-[\w-]*(?:key|token)|private-token|access-token)[\"']?\s*:\s*"
    r"(?:(?:bearer|basic|token)\s+)?(?!bearer\b|basic\b|token\b)[a-z0-9]",
    "a key or token": r"(?<![\w-])(?:xox[a-z]-|gh[a-z]_|github_pat_|glpat-|tk_|sk-|AKIA)[\w-]{8}|"
    r"--(?:[\w-]*(?:token|password|secret|key)|oauth2-bearer)[ =][\"']?[A-Za-z0-9]",
    "a secret part of an address": r"://[^\s\"'$]*[/=?&](?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,}",
}
_OURS = {
    "job-name": "", "array": "; see cluster.parallelism", "output": "", "error": "", "open-mode": "",
    "signal": "; see cluster.lead", "requeue": "", "no-requeue": "", "chdir": "", "parsable": "", "wait": "",
    "nodes": "; see cluster.nodes", "gpus-per-node": "; see cluster.gpus_per_node", "gres": "; see cluster.gres",
    "gpus-per-task": "; see cluster.gpus_per_task", "ntasks-per-node": "; see cluster.tasks_per_node, or leave it out "
    "with null",
}  # fmt: skip
