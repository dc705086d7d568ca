"""How many tasks a job has on each of its nodes: one a GPU, in whichever of Slurm's ways the GPUs are asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from golang.errors import ConfigError

# The settings that ask for GPUs, and for what each asks: in a list of [TYPE:]NUMBER, or of generic resources.
_NUMBERS = {
    "gpus_per_node": "node", "gpus_per_task": "task", "extra.gpus": "job", "extra.gpus-per-socket": "socket",
}  # fmt: skip
_RESOURCES = {"gres": "node", **{f"extra.tres-per-{unit}": unit for unit in ("node", "task", "job", "socket")}}
_RESOURCE = re.compile(r"(?:gres[:/])?(gpu|shard|mps)((?:[:=][^:=]+)*)")  # gpu, gpu:4, gpu:a100:4, gres/gpu=4
REPLACING = frozenset({"ntasks", "ntasks-per-gpu", "ntasks-per-node"})  # names in extra, in place of --ntasks-per-node


@dataclass(frozen=True)
class Shape:
    """What each node of a job has."""

    tasks: int
    gpus: int | None = None  # None: none is asked for
    binding: str = ""  # the setting that shows each task its own GPU alone; "" where a task sees those of its node


@dataclass(frozen=True)
class _Said:
    """A number a node, and by which setting."""

    number: int
    by: str


def shape(nodes: int, tasks_per_node: int | None, asked: Mapping[str, str | None]) -> Shape:
    """The shape of a job, from what is asked for by cluster.KEY: each task has one GPU, and each GPU one task. Raises
    ConfigError where GPUs would be idle or shared, and where two settings contradict each other."""
    given = {key: value for key, value in asked.items() if value is not None}
    found = [(key, unit, count) for key, unit in (_NUMBERS | _RESOURCES).items() if (count := _gpus(key, given))]
    bound = [(key, count) for key, unit, count in found if unit == "task"]
    if per_gpu := _count("extra.ntasks-per-gpu", given):
        bound.append(("extra.ntasks-per-gpu", per_gpu))
    for key, count in bound:
        if count != 1:
            raise ConfigError(
                f"{_typed(key, given)}: a task uses one GPU, and no other task uses that; write 1, and the number of "
                "tasks as cluster.tasks_per_node"
            )
    if len(twice := [_typed(key, given) for key, unit, _ in found if unit == "node"]) > 1:
        raise ConfigError(f"{' and '.join(twice)} ask for a node's GPUs twice; leave one of them out")
    gpus = _agreed([_of_node(key, unit, count, nodes, given) for key, unit, count in found if unit != "task"])
    stated = [_Said(tasks_per_node, f"cluster.tasks_per_node={tasks_per_node}")] if tasks_per_node else []
    if all_tasks := _count("extra.ntasks", given):
        stated.append(_share("extra.ntasks", all_tasks, nodes, given))
    tasks = _agreed(stated)
    if gpus is not None and tasks is not None and gpus.number != tasks.number:
        wrong = "the others would be idle" if gpus.number > tasks.number else "there are too few"
        key = tasks.by.partition("=")[0]
        raise ConfigError(
            f"{gpus.by} is {_many(gpus.number, 'GPU')} a node, and {tasks.by} {_many(tasks.number, 'task')}. A task "
            f"uses one GPU, so {wrong}: leave out {key}, as tasks follow the GPUs, or ask for "
            f"{_many(tasks.number, 'GPU')} a node"
        )
    if per_gpu and gpus is None and not all_tasks:
        raise ConfigError(
            f"{_typed('extra.ntasks-per-gpu', given)} does not say of how many GPUs; add cluster.gpus_per_node=NUMBER"
        )
    number = (tasks or gpus or _Said(1, "")).number
    if number > 1 and "extra.ntasks-per-node" in asked and not (all_tasks or per_gpu):
        raise ConfigError(
            f"cluster.extra.ntasks-per-node=null leaves Slurm one task a node, and this job has {number}; "
            f"cluster.extra.ntasks={nodes * number} says it in another way"
        )
    return Shape(number, number if gpus or bound else None, bound[0][0] if bound else "")


def _gpus(key: str, given: Mapping[str, str]) -> int:
    """GPUs that a setting asks for, of its node, job, socket or task; 0 if it asks for none. Shards are of one GPU."""
    entries = given[key].split(",") if key in given else []
    number, shared = 0, False
    for entry in entries:
        match = _RESOURCE.fullmatch(f"gpu:{entry.strip()}" if key in _NUMBERS else entry.strip())
        if match is not None:
            shared |= match[1] != "gpu"
            last = re.split("[:=]", match[2])[-1]
            number += 0 if match[1] != "gpu" else int(last) if last.isdecimal() else 1
    return number or int(shared)


def _count(key: str, given: Mapping[str, str]) -> int:
    """A number of tasks; 0 if it is not given. Raises ConfigError for anything else."""
    if key not in given:
        return 0
    if not re.fullmatch(r"[1-9]\d*", given[key]):
        raise ConfigError(f"{_typed(key, given)} must be a number of tasks, at least 1")
    return int(given[key])


def _of_node(key: str, unit: str, number: int, nodes: int, given: Mapping[str, str]) -> _Said:
    """GPUs of a node. Raises ConfigError where they can't be known."""
    if unit == "job":
        return _share(key, number, nodes, given)
    if unit == "socket":
        sockets = given.get("extra.sockets-per-node", "")
        if not re.fullmatch(r"[1-9]\d*", sockets):
            raise ConfigError(f"{_typed(key, given)} needs cluster.extra.sockets-per-node=NUMBER, as Slurm does")
        number *= int(sockets)
    return _Said(number, _typed(key, given))


def _share(key: str, number: int, nodes: int, given: Mapping[str, str]) -> _Said:
    """A node's share of a number for the whole job. Raises ConfigError where nodes would differ."""
    if number % nodes:
        raise ConfigError(
            f"{_typed(key, given)} does not divide by cluster.nodes={nodes}; nodes are alike, so ask for "
            f"{max(1, number // nodes) * nodes}, or for another number of nodes"
        )
    return _Said(number // nodes, _typed(key, given))


def _agreed(said: list[_Said]) -> _Said | None:
    """What all say, or None if nobody does. Raises ConfigError for two that contradict each other."""
    for other in said[1:]:
        if other.number != said[0].number:
            raise ConfigError(
                f"{said[0].by} and {other.by} ask for different numbers ({said[0].number} and {other.number} a node); "
                "leave one of them out"
            )
    return said[0] if said else None


def _typed(key: str, given: Mapping[str, str]) -> str:
    return f"cluster.{key}={given[key]}"


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
