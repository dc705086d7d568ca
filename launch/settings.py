"""Where runs happen: settings of the launcher, which the science knows nothing of."""

from __future__ import annotations

import dataclasses
import re
import shlex
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from golang.config import nearest, refuse_secret
from golang.errors import ConfigError

LEAD = 120  # seconds before the time limit at which Slurm warns a run whose saves have not been measured
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNED = re.compile(r"""(\w+)=["']?[A-Za-z0-9]""")  # but not from a file or another variable
_OPTION = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Cluster:
    """Slurm's own names where Slurm has one; None leaves the choice to Slurm."""

    name: Literal["none", "local", "slurm"] = "none"
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    reservation: str | None = None
    time: str | None = None  # as sbatch takes it: minutes, HH:MM:SS, D-HH:MM:SS
    nodes: int = 1
    tasks_per_node: int | None = None  # None: one a GPU, or one
    gpus_per_node: str | None = None  # 4, a100:4
    gpus_per_task: str | None = None
    gres: str | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    mem_per_cpu: str | None = None
    mem_per_gpu: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    exclusive: bool = False
    dependency: str | None = None
    parallelism: int | None = None  # runs of one array at once; on this machine: of a sweep, 1 unless given
    max_retries: int = 2  # times a run whose processes died comes back without a new checkpoint in between
    lead: int | None = None  # seconds of warning before the time limit; None: from the measured time of a save
    python: str | None = None  # the command that runs Python in the job; None: the one that submits
    setup: list[str] = field(default_factory=list)  # shell lines: modules, conda
    env: dict[str, str] = field(default_factory=dict)
    container: list[str] = field(default_factory=list)  # arguments of srun, as in [--container-image=…]
    extra: dict[str, str] = field(default_factory=dict)  # any other option of sbatch; "true" for one without a value

    @property
    def tasks(self) -> int:
        """Processes a node."""
        if self.tasks_per_node is not None:
            return self.tasks_per_node
        for asked in (self.gpus_per_node, self._gpus_of_gres()):
            if asked is not None and self.gpus_per_task is None:
                return int(asked.rsplit(":", 1)[-1])
        return 1

    @property
    def gpus_here(self) -> int | None:
        """GPUs to use on this machine; None for all."""
        return None if self.gpus_per_node is None else int(self.gpus_per_node.rsplit(":", 1)[-1])

    def _gpus_of_gres(self) -> str | None:
        found = re.search(r"(?:^|,)gpu(?::[^,:]+)?:(\d+)", self.gres or "")
        return found[1] if found else None


@dataclass(frozen=True)
class Launch:
    """The settings beside the trainer's own."""

    run_dir: str | None = None  # a run's folder, without a cluster; default: runs_dir/sweep/label-id
    runs_dir: str = "runs"
    dry_run: bool = False  # show what would be submitted
    code: Literal["current", "frozen"] = "current"  # frozen: a failed run goes on with the code it started with
    cluster: Cluster = field(default_factory=Cluster)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Launch:
        """Checked settings from plain data. Raises ConfigError."""
        launch: Launch = _build(cls, values, "")
        _check(launch.cluster)
        for key in ("run_dir", "runs_dir"):
            if not (getattr(launch, key) or ".").isprintable():
                raise ConfigError(f"{key}={getattr(launch, key)!r} must be one line of printable text")
        return launch


def seconds(time: str) -> int:
    """A time limit as Slurm writes it, in seconds. Raises ConfigError for one that Slurm would not take."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if time.lower() in ("unlimited", "infinite", "-1"):
        return 366 * 86400
    if found is None:
        raise ConfigError(f"cluster.time={time!r} is no time limit; write minutes, HH:MM:SS or D-HH:MM:SS")
    days, first, second, third = (int(part) if part else None for part in found.groups())
    assert first is not None
    if days is not None:
        return days * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
    if third is not None:
        return first * 3600 + (second or 0) * 60 + third
    return first * 60 + (second or 0)


def _check(cluster: Cluster) -> None:
    whole = {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1, "parallelism": 1, "max_retries": 0, "lead": 1}
    for key, least in whole.items():
        value = getattr(cluster, key)
        if value is not None and value < least:
            raise ConfigError(f"cluster.{key}={value} must be at least {least}")
    for key in ("gpus_per_node", "gpus_per_task"):
        value = getattr(cluster, key)
        if value is not None and not re.fullmatch(r"(?:[\w.-]+:)?[1-9]\d*", value):
            raise ConfigError(f"cluster.{key}={value} must be a number of GPUs, or TYPE:NUMBER as in a100:4")
    if cluster.time is not None:
        seconds(cluster.time)
    for name, value in cluster.env.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(f"cluster.env.{name}={value!r}: {name!r} is no name for an environment variable")
    for name, value in cluster.extra.items():
        if not _OPTION.fullmatch(name):
            raise ConfigError(
                f"cluster.extra.{name}={value!r}: write the option as sbatch has it but for its dashes, as in mail-type"
            )
        if name in _OURS:
            raise ConfigError(f"cluster.extra.{name}={value!r}: the launcher sets --{name} itself{_OURS[name]}")
    _refuse_secrets(cluster)
    options = {name: value for name, value in vars(cluster).items() if isinstance(value, str) and name != "python"}
    for name, value in {**options, **{f"extra.{key}": value for key, value in cluster.extra.items()}}.items():
        if not value or any(ord(character) < 32 for character in value):
            raise ConfigError(
                f"cluster.{name}={value!r} must be one line of text that is not empty; null leaves it out"
            )
    if cluster.name == "local" and cluster.nodes != 1:
        raise ConfigError(f"cluster.nodes={cluster.nodes}: cluster=local is this machine alone; use cluster=slurm")


def _refuse_secrets(cluster: Cluster) -> None:
    """Raises ConfigError, without the value, for a key or token that would stand in job.sbatch."""
    for section, values in (("env", cluster.env), ("extra", cluster.extra)):
        for name in values:
            refuse_secret(f"cluster.{section}.{name}")
    lines = [("setup", line) for line in (*cluster.setup, *cluster.container)]
    for place, line in [*lines, *((f"extra.{name}", value) for name, value in cluster.extra.items())]:
        for assigned in _ASSIGNED.finditer(line):
            refuse_secret(f"cluster.{place}: {assigned[1]}")


_OURS = {
    "job-name": "", "comment": "", "array": "; see cluster.parallelism", "output": "", "error": "", "open-mode": "",
    "signal": "; see cluster.lead", "requeue": "", "no-requeue": "", "chdir": "", "ntasks": "; see cluster.nodes and "
    "cluster.tasks_per_node", "ntasks-per-node": "; see cluster.tasks_per_node", "parsable": "", "wait": "",
}  # fmt: skip


def _build(cls: type[Any], values: Any, path: str) -> Any:  # noqa: ANN401 - either class of settings
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the configuration'} must be a group of settings, got {values!r}")
    hints = typing.get_type_hints(cls)
    dotted = {key: f"{path}.{key}" if path else str(key) for key in values}
    for key in values:
        if key not in hints:
            known = [f"{path}.{name}" if path else name for name in hints]
            raise ConfigError(f"unknown setting {dotted[key]}={values[key]!r}{nearest(dotted[key], known)}")
    return cls(**{key: _read(hints[key], value, dotted[key]) for key, value in values.items()})


def _read(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401 - any type a setting has
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast("type[Any]", kind), value, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _read(arguments[0], value, path)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{path}={value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is list:
        lines = [value] if isinstance(value, str) else value
        if not isinstance(lines, (list, tuple)):
            raise ConfigError(f"{path}={value!r} must be a list of text")
        return [_read(str, line, path) for line in lines]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={value!r} must be a group of names and values")
        return {str(key): _read(str, item, f"{path}.{key}") for key, item in value.items()}
    if kind is str and isinstance(value, bool):
        return str(value).lower()
    if kind is str and isinstance(value, (int, float)):
        return str(value)  # Slurm takes 4 where Hydra sees a number
    if kind is str and isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)  # node lists may be written as lists
    if type(value) is not kind:
        raise ConfigError(f"{path}={value!r} must be {_NAMES[kind]}, got {type(value).__name__}")
    return value


_NAMES = {int: "a whole number", bool: "true or false", str: "text"}


def shell(words: list[str]) -> str:
    """Words as a shell reads them back."""
    return " ".join(shlex.quote(word) for word in words)
