"""What the launcher says on the terminal."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from golang.config import recipe
from golang.config.doubts import doubts, expected
from golang.runfolder import lock
from launch.sweep.folder import Plan, Planned, differing
from launch.text import plain, shown

if TYPE_CHECKING:
    from launch.submission.submit import Fate

_ASKING = re.compile(r"SBATCH_(GPUS\w*|GRES|TRES_PER_\w+)")  # variables that ask for GPUs, as options of sbatch do
_SHOWN = 40  # rows of a table; a longer one is cut in the middle


def plan(plan: Plan, script: str) -> None:
    """A dry run: what differs between the runs, what they share, and the batch script."""
    _show_runs(f"{len(plan.runs)} runs for {plan.sweep}", plan.runs, {"id": [run.id for run in plan.runs]})
    if plan.runs[0].cluster.name == "slurm":
        _say("\nThe first run's job.sbatch (an array's differs in --array and in where RUN_DIR comes from):\n")
        _say(script)
    _warn(plan)
    _say("Nothing was submitted. Without dry_run=true the same command submits.")


def fates(plan: Plan, fates: Sequence[Fate]) -> None:
    """What became of each run, and what to type next."""
    runs = [fate.run for fate in fates]
    columns = {
        "id": [run.id for run in runs], "now": [fate.word for fate in fates], "job": [fate.job for fate in fates],
        "remark": [fate.remark for fate in fates],
    }  # fmt: skip
    _show_runs(str(plan.sweep), runs, columns)
    _say(", ".join(f"{number} {word}" for word, number in Counter(columns["now"]).items()))
    if plan.code == "current" and any(remark.startswith("with today's code") for remark in columns["remark"]):
        _say("Runs submitted before go on with today's code and settings; code=frozen keeps the old code.")
    _warn(plan)
    sweep = shown([str(plan.sweep)])
    _say(
        f"\nNext:  python -m launch status {sweep}\n"
        f"       python -m launch logs {fates[0].run.id}\n"
        f"       python -m launch cancel {sweep}\n"
        "       the same command again continues what is missing or failed"
    )


def _warn(plan: Plan) -> None:
    """Of what was chosen for the runs, of what Slurm takes, and of what ranks suffer from or nobody meant."""
    if chosen := next(filter(None, (recipe.lines(run.config) for run in plan.runs)), []):
        _say("\n".join(chosen) + ("\nThis is the first run." if len(plan.runs) > 1 else ""))
    elif any(run.config.recipe.left and run.config.evaluation.checkpoint is None for run in plan.runs):
        _say("What is null in the settings is chosen, and said, when the run begins on its GPUs.")
    shapes = [run.cluster.shape for run in plan.runs if "gpu-bind" not in run.cluster.extra]
    if hiding := [shape.binding for shape in shapes if shape.binding and shape.tasks > 1]:
        _say(
            f"cluster.{hiding[0]} hides the GPUs of a node's other tasks where the site confines devices, and NCCL "
            "then reaches them by way of the host's memory, or not at all: use cluster.gpus_per_node alone, or add "
            "cluster.extra.gpu-bind=none"
        )
    if doubt := lock.doubt(plan.sweep):
        _say(doubt)
    for sentence in dict.fromkeys(sentence for run in plan.runs if (sentence := _idle(run))):
        _say(sentence)
    for sentence, number in _doubtful(plan.runs):
        _say(sentence if len(plan.runs) == 1 else f"{number} of {len(plan.runs)} runs, such as the first: {sentence}")
    words = dict.fromkeys(word.lstrip("+") for run in plan.runs for word in run.overrides)
    if lists := [word for word in words if re.match(r"cluster\.[^=]+='[^']*,", word)]:
        _say(f"Of the cluster a comma makes no grid, each of these is one value: {' '.join(lists)}")


def _idle(run: Planned) -> str:
    """Of GPUs that a job has or may have, and does not use; "" if there is nothing to say."""
    cluster, device = run.cluster, run.config.device
    gpus, tasks = cluster.shape.gpus, cluster.tasks
    if cluster.name == "slurm" and gpus and device == "cpu":
        return f"device=cpu uses none of the job's GPUs, {gpus} a node: ask for none, or leave out device=cpu"
    shell = [f"{name}={value}" for name, value in os.environ.items() if _ASKING.fullmatch(name)]
    if cluster.name == "slurm" and shell and not gpus:
        return f"{' '.join(shell)} in this shell gives the job GPUs that tasks do not follow: type cluster.… instead"
    if cluster.exclusive and not gpus and device != "cpu":
        return (
            f"cluster.exclusive=true gives the job all GPUs of its nodes, and {tasks} of each node's at most is used: "
            "say how many there are with cluster.gpus_per_node=NUMBER, and tasks follow"
        )
    return ""


def _doubtful(runs: Sequence[Planned]) -> list[tuple[str, int]]:
    """What hardly any run was meant to do: of each kind the first sentence, and how many runs it holds of."""
    found: dict[str, dict[str, str]] = {}  # by setting and run
    for run in runs:
        for sentence in (*doubts(run.config, expected(run.config.data)), *_crowded(run)):
            found.setdefault(sentence.partition("=")[0], {}).setdefault(run.id, sentence)
    return [(next(iter(sentences.values())), len(sentences)) for sentences in found.values()]


def _crowded(run: Planned) -> Iterator[str]:
    """Where a run's loader processes share fewer cores."""
    cluster, workers = run.cluster, run.config.data.workers
    here = cluster.name == "local"
    cores = os.cpu_count() if here else cluster.cpus_per_task
    if cores is not None and cores < (wanted := (cluster.tasks if here else 1) * workers):
        whose = "this machine" if here else f"cluster.cpus_per_task={cores}"
        yield (
            f"data.workers={workers} asks for {wanted} loader processes, and {whose} has {cores} cores for them: steps "
            f"may wait for images; data.workers={max(1, cores * workers // wanted - 1)} asks for fewer"
            + ("" if here else f", cluster.cpus_per_task={wanted + 1} gives a core to each")
        )


def _show_runs(title: str, runs: Sequence[Planned], columns: Mapping[str, Sequence[str]]) -> None:
    """One row a run: `columns`, unless empty, and then the settings that differ; below it those that all share."""
    common, own = differing(runs)
    keys = list(dict.fromkeys(key for row in own for key in row))
    used = {name: texts for name, texts in columns.items() if any(texts)}
    table = Table(box=None, pad_edge=False)
    for name in [*used, *keys]:
        table.add_column(Text(name), overflow="fold")
    for number, row in enumerate(own):
        if len(runs) > _SHOWN and _SHOWN // 2 <= number < len(runs) - _SHOWN // 2:
            if number == _SHOWN // 2:
                table.add_row(Text(f"… {len(runs) - _SHOWN} more"))
            continue
        texts = [*(column[number] for column in used.values()), *(row.get(key, "") for key in keys)]
        table.add_row(*(Text(plain(text)) for text in texts))
    _say(title)  # not as the table's own, which is folded to its width
    _console().print(table)
    if common:
        _say(f"All of them: {' '.join(common)}")


def _say(text: str) -> None:
    _console().print(Text(plain(text, keep="\n")), soft_wrap=True)


def _console() -> Console:
    # In a pipe nothing is folded: a program may read it.
    return Console(width=None if sys.stdout.isatty() else 400, highlight=False)
