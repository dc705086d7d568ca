"""How runs stand: each run's folder, set against what Slurm says of its job."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from golang.runfolder.files import as_number, read_json
from golang.runfolder.folder import RunFolder
from launch.queue import Answer, Job, ask
from launch.sweep import ledger
from launch.sweep.find import Run
from launch.text import plain

COLOURS = {
    "finished": "green", "running": "cyan", "waiting": "yellow", "stopped": "magenta", "cancelled": "magenta",
    "failed": "red", "died": "red", "gone": "magenta",
    "submitted": "yellow", "not submitted": "dim",
}  # fmt: skip
TURN = "for its turn on this machine"  # what a run waits for that no Slurm knows
WIDE = 100  # columns from which on there is room for the nodes


@dataclass(frozen=True)
class Standing:
    """One run, in a line."""

    sweep: str
    run: str  # the folder's name
    state: str
    step: int
    total: int
    loss: float | None
    mAP: dict[str, float]  # noqa: N815 - in points, by evaluation
    attempts: int
    last: str  # the last event, with what to do if that is up to the person
    node: str
    job: str
    updated: str


def standings(runs: Sequence[Run]) -> tuple[list[Standing], str]:
    """How each run stands, and what of Slurm could not be asked ('' if all is well)."""
    answer = ask({run.job for run in runs if run.job})
    events: dict[Path, dict[str, dict[str, Any]]] = {}
    for sweep in {run.sweep for run in runs}:
        events[sweep] = {line["folder"]: line for line in ledger.read(sweep) if line["folder"]}
    return [_standing(run, answer, events[run.sweep].get(run.path.name)) for run in runs], answer.trouble


def _standing(run: Run, answer: Answer, event: dict[str, Any] | None) -> Standing:
    folder = RunFolder(run.path)
    numbers = folder.attempt_numbers()
    newest = folder.attempts / f"{numbers[-1]:02d}" if numbers else None
    status = (read_json(newest / "status.json") if newest else None) or {}
    cause = (read_json(newest / "cause.json") if newest else None) or {}
    state, last = _state(folder, answer.jobs.get(run.job), not answer.trouble, status, cause, event)
    job = answer.jobs.get(run.job)
    progress = status or _progress(folder, numbers[:-1])
    return Standing(
        sweep=run.sweep.name,
        run=run.path.name,
        state=state,
        step=_whole(progress.get("step")),
        total=_whole(progress.get("total")),
        loss=as_number(progress.get("loss")),
        mAP=_evaluated(run.path, status),
        attempts=len(numbers),
        last=last,
        node=(job.nodes if job and job.active else "") or str(status.get("host", "")),
        job=run.job,
        updated=str(status.get("updated", "")),
    )


def _progress(folder: RunFolder, numbers: Sequence[int]) -> dict[str, Any]:
    """How far the run had come before an attempt that has only begun."""
    said = (read_json(folder.attempts / f"{number:02d}" / "status.json") for number in reversed(numbers))
    return next(filter(None, said), {})


def _evaluated(folder: Path, status: dict[str, Any]) -> dict[str, float]:
    """What the run's evaluations found; of one whose result lies with the run it measures, what it says itself."""
    results = {path.parent.name: path for path in sorted((folder / "evaluation").glob("*/result.json"))}
    read = {name: read_json(path) or {} for name, path in results.items()}
    read["probe"] = read_json(folder / "evaluation" / "linear.json") or {}
    if not results:
        read[folder.name.partition(",")[0]] = status
    return {name: points for name, facts in read.items() if (points := as_number(facts.get("mAP"))) is not None}


def _state(
    folder: RunFolder,
    job: Job | None,
    asked: bool,
    status: dict[str, Any],
    cause: dict[str, Any],
    event: dict[str, Any] | None,
) -> tuple[str, str]:
    """The run's state in one word, and the last event; `asked`: whether Slurm would have said of a job it has."""
    said = str(cause.get("cause", ""))
    if folder.done:
        return "finished", ""
    if job is not None and job.active:
        if job.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD"):
            return "waiting", " · ".join(filter(None, [said, job.reason]))
        if job.state == "RUNNING":
            return "running", said if status.get("state") != "running" else ""
        return job.state.lower(), said
    if held(folder):
        return "running", ""
    word = event["event"] if event is not None else ""
    if word == "cancelled":
        return "cancelled", said
    if word == "failed":
        return "failed", str(event.get("reason", "") if event else "") or str(cause.get("message", "")) or said
    if word in ("submitted", "adopted") and controller(Run(folder.path, event["job"] if event else "")) is not None:
        return "waiting", TURN
    if job is not None and job.state.startswith("CANCELLED"):
        return "cancelled", said
    if cause.get("cause") in ("error", "non-finite") or status.get("state") == "failed":
        return "failed", str(cause.get("message", "")) or said
    if status.get("state") == "stopped":
        return "stopped", f"{said}; needs resubmission: type the same command"
    if status.get("state") == "running":
        slurm = f"{job.state.lower().replace('_', ' ')}; " if job else ""
        return "died", f"{slurm}type the same command to go on"
    if job is not None:
        return "failed", job.state.lower()
    if word in ("submitted", "adopted") and asked:  # of an array's element that never started, Slurm keeps nothing
        return "gone", "cancelled before it started? type the same command to submit it again"
    return ("submitted", "") if word in ("submitted", "adopted") else ("not submitted", "type the same command")


def controller(run: Run) -> int | None:
    """The process that submitit's local executor left in charge of the run, while it lives; None without one."""
    kind, _, pid = run.job.partition(":")
    if kind != "local" or not pid.isdecimal():
        return None
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words[1:3] == [b"-m", b"submitit.local._local"] and len(words) > 3:
            folder = Path(os.fsdecode(words[3])).resolve()
            return int(pid) if folder.parent.parent == run.sweep.resolve() / "submissions" else None
    return None


def held(folder: RunFolder) -> bool:
    """Whether a process on a machine that shares the folder's locks is training the run now."""
    try:
        with (folder.path / "lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except OSError:
        return False
    return False


def differing(runs: Sequence[str]) -> dict[str, str]:
    """Short names: what distinguishes each run's label, with its id."""
    split = {name: name.rpartition("-")[0].split(",") for name in runs}
    common = set.intersection(*(set(parts) for parts in split.values())) if len(split) > 1 else set()
    short = {}
    for name, parts in split.items():
        own = ",".join(part for part in parts if part not in common)
        short[name] = f"{own} {name.rpartition('-')[2]}".strip()
    return short


def render(lines: Sequence[Standing], trouble: str, width: int = WIDE, everything: Sequence[Standing] = ()) -> Any:  # noqa: ANN401 - a rich renderable
    """A compact table for each sweep; its title counts `everything` if not all is shown. Fewer columns than `WIDE`
    leave the node out, and put the last event below the run."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for sweep in dict.fromkeys(line.sweep for line in lines):
        own = [line for line in lines if line.sweep == sweep]
        states = Counter(line.state for line in everything or lines if line.sweep == sweep)
        title = Text(plain(f"{sweep}: " + ", ".join(f"{count} {state}" for state, count in states.items())), "italic")
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("run", overflow="fold")
        table.add_column("state", no_wrap=True)
        measured = any(line.mAP for line in own)
        for column in ("step", "loss", *(["mAP"] if measured else []), "att."):
            table.add_column(column, justify="right", no_wrap=column != "mAP")
        if width >= WIDE:
            table.add_column("node", overflow="ellipsis", no_wrap=True, max_width=12)
            table.add_column("last event", overflow="fold")
        names = differing([line.run for line in own])
        for line in own:
            progress = f"{line.step}/{line.total}" if line.total else "–"
            loss = "–" if line.loss is None else f"{line.loss:.3f}"
            state = Text(plain(line.state), style=COLOURS.get(line.state, ""))
            points = [f"{key} {value:.1f}" if len(line.mAP) > 1 else f"{value:.1f}" for key, value in line.mAP.items()]
            name = Text(plain(names[line.run]))
            last = plain(line.last)
            if last and width < WIDE:
                name.append(f"\n  {last}", style="dim")
            row: list[Any] = [name, state, progress, loss]
            row += [*(["\n".join(points) or "–"] if measured else []), str(line.attempts)]
            table.add_row(*row, *([Text(plain(line.node)), Text(last)] if width >= WIDE else []))
        parts += [title, table]
    if trouble:
        parts.append(Text(plain(trouble), style="yellow"))
    return Group(*parts)


def as_json(lines: Sequence[Standing]) -> str:
    return json.dumps([asdict(line) for line in lines], indent=1)


def stop_here(run: Run) -> bool:
    """Asks a run that trains on this machine without Slurm to save and stop, or not to start when its turn comes;
    False if there is none."""
    with contextlib.suppress(OSError):
        if (pid := controller(run)) is not None:
            os.kill(pid, 15)  # it passes that on to the run's processes
            return True
    numbers = RunFolder(run.path).attempt_numbers()
    status = read_json(run.path / "attempts" / f"{numbers[-1]:02d}" / "status.json") if numbers else None
    if status is None or status.get("host") != socket.gethostname() or not held(RunFolder(run.path)):
        return False
    pid = _whole(status.get("pid"))
    with contextlib.suppress(OSError):
        # The folder's word is not enough to end a process: it has to be the one that holds the run.
        if any(link.samefile(run.path / "lock") for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()):
            os.kill(pid, 15)
            return True
    return False


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
