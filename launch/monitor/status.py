"""How runs stand: each run's folder, set against what Slurm says of its job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from golang.runfolder.causes import Word
from golang.runfolder.files import as_number
from golang.runfolder.folder import Attempt, RunFolder
from golang.runfolder.results import PROBE, results
from launch.slurm import Job, ask
from launch.submission.limits import Limits
from launch.submission.release import look, release
from launch.sweep import here, ledger
from launch.sweep.find import Run

_Facts = dict[str, Any]  # from a file
TURN = "for its turn on this machine"  # what a run waits for that no Slurm knows


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


def standings(runs: Sequence[Run], releasing: bool = False) -> tuple[list[Standing], str]:
    """How each run stands, and what of Slurm could not be asked ('' if all is well). With `releasing`, jobs that Slurm
    held after a requeue are released; without, nothing is changed."""
    jobs, trouble = ask({run.job for run in runs if run.job})
    lines = {sweep: ledger.read(sweep) for sweep in {run.sweep for run in runs}}
    events = {sweep: {line["folder"]: line for line in own if line["event"] != "note"} for sweep, own in lines.items()}
    found, limits = [], Limits()
    for run in runs:
        job, event = jobs.get(run.job), events[run.sweep].get(run.path.name, {})
        waits = (False, "")
        if job is not None and job.waits and not RunFolder(run.path).done:
            waits = (release if releasing else look)(run, job, lines[run.sweep], limits)
        found.append(_standing(run, job, not trouble, event, waits))
    return found, trouble


def as_json(lines: Sequence[Standing]) -> str:
    return json.dumps([asdict(line) for line in lines], indent=1)


def _standing(run: Run, job: Job | None, asked: bool, event: _Facts, waits: tuple[bool, str]) -> Standing:
    folder = RunFolder(run.path)
    attempts = [Attempt(folder, number) for number in reversed(folder.attempt_numbers())]
    status, cause = (attempts[0].status(), attempts[0].cause()) if attempts else ({}, {})
    state, last = _state(folder, job, asked, status, cause, event, waits)
    # An attempt that has only begun has not said yet how far the run is.
    progress = next(filter(None, (attempt.status() for attempt in attempts)), {})
    return Standing(
        sweep=run.sweep.name,
        run=run.path.name,
        state=state,
        step=int(as_number(progress.get("step")) or 0),
        total=int(as_number(progress.get("total")) or 0),
        loss=as_number(progress.get("loss")),
        mAP=_evaluated(folder, status),
        attempts=len(attempts),
        last=last,
        node=(job.nodes if job and job.active else "") or str(status.get("host", "")),
        job=run.job,
        updated=str(status.get("updated", "")),
    )


def _evaluated(folder: RunFolder, status: _Facts) -> dict[str, float]:
    """What the run's evaluations found; of one whose result lies with the run it measures, what it says itself."""
    found = results(folder)
    probe = {"probe": found.pop(PROBE, {})}
    found = (found | probe) if found else probe | {folder.path.name.partition(",")[0]: status}
    return {name: points for name, facts in found.items() if (points := as_number(facts.get("mAP"))) is not None}


def _state(
    folder: RunFolder, job: Job | None, asked: bool, status: _Facts, cause: _Facts, event: _Facts,
    waits: tuple[bool, str],
) -> tuple[str, str]:  # fmt: skip
    """The run's state in one word, and the last event. `asked`: whether Slurm would have said of a job it has; `waits`:
    whether its job does so for ever, and why."""
    said, message = str(cause.get("cause", "")), str(cause.get("message", ""))
    word, sent = event.get("event", ""), event.get("event") in ("submitted", "adopted")
    if folder.done:
        return "finished", ""
    if job is not None and job.active:
        if job.waits:
            stuck, why = waits
            return "stuck" if stuck else "waiting", " · ".join(filter(None, [said, why]))
        if job.state == "RUNNING":
            return "running", said if status.get("state") != "running" else ""
        return job.state.lower(), said
    if folder.held:
        return "running", ""
    if word == "cancelled":
        return "cancelled", said
    if word == "failed":
        return "failed", str(event.get("reason", "")) or message or said
    if sent and here.controller(Run(folder.path, event["job"])) is not None:
        return "waiting", TURN
    if job is not None and job.state.startswith("CANCELLED"):
        return "cancelled", said
    if said in ("error", Word.NON_FINITE) or status.get("state") == "failed":
        return "failed", message or said
    if status.get("state") == "stopped":
        return "stopped", f"{said}; needs resubmission: type the same command"
    if status.get("state") == "running":
        slurm = f"{job.state.lower().replace('_', ' ')}; " if job else ""
        return "died", f"{slurm}type the same command to go on"
    if job is not None:
        return "failed", job.state.lower()
    if sent and asked:  # of an array's element that never started, Slurm keeps nothing
        return "gone", "cancelled before it started? type the same command to submit it again"
    return ("submitted", "") if sent else ("not submitted", "type the same command")
