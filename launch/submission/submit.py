"""From a plan to Slurm's queue: finished runs are left, live ones adopted, the rest handed over, none twice."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from golang.runfolder import files
from golang.runfolder.evaluations import result_name, unprobed
from golang.runfolder.files import as_number
from golang.runfolder.folder import RunFolder
from launch import reasons, slurm
from launch.errors import SlurmError, SubmitError
from launch.node import notify
from launch.settings import Cluster
from launch.submission.executors import send_here, send_to_slurm
from launch.submission.limits import Limits
from launch.submission.release import release
from launch.submission.sbatch import Script, lead_time
from launch.sweep import here, ledger, snapshot
from launch.sweep.find import Run
from launch.sweep.folder import Plan, Planned, describe, freeze, frozen_code, hold, writing
from launch.sweep.paths import Submission, Sweep

log = logging.getLogger(__name__)
UNANSWERED = 2.0  # seconds in which sbatch, whose launcher died, may still be heard by Slurm


@dataclass(frozen=True)
class Fate:
    """What became of one run of a plan."""

    run: Planned
    word: str  # finished, running, waiting, stuck, submitted
    job: str = ""
    remark: str = ""


def submit(plan: Plan) -> list[Fate]:
    """Hands over what is not done or under way; the fate of every run. Raises SlurmError, SubmitError, LaunchBusyError,
    LedgerError; whatever was handed over before is in the ledger."""
    local = plan.runs[0].cluster.name == "local"
    largest = len(plan.runs) if local else slurm.largest_array()
    with hold(plan.sweep) as lock:
        describe(plan)
        fates = dict(_settled(plan, local))
        todo = [run for run in plan.runs if run.id not in fates]
        current = snapshot.take(plan.sweep) if todo else plan.sweep
        scripts, remarks = {}, {}
        for run in todo:
            code, remarks[run.id] = _code(plan, run, current)
            scripts[run.id] = _script(run, code)
            _write(scripts[run.id], run)
            with writing(run.folder):
                notify.keep(run.folder, plan.notify)
        for waiting in (False, True):  # what runs depend on comes first: it has a job then
            due = [run for run in todo if bool(run.after) is waiting]
            for script, runs in _arrays(due, scripts, {} if local else fates):
                for start in range(0, len(runs), largest):
                    for run, job in _hand_over(plan, script, runs[start : start + largest], local, lock):
                        fates[run.id] = Fate(run, "submitted", job, remarks[run.id])
    return [fates[run.id] for run in plan.runs]


def _arrays(
    runs: Sequence[Planned], scripts: dict[str, Script], fates: dict[str, Fate]
) -> list[tuple[Script, list[Planned]]]:
    """Runs that can share an array: alike, or evaluations of the elements of one array, in their order."""
    jobs = {run.id: fate.job for run in runs if (fate := fates.get(run.after)) and fate.word != "finished"}
    arrays = {id: job.partition("_")[0] for id, job in jobs.items()}
    groups: dict[tuple[str, ...], list[Planned]] = {}
    for run in runs:
        kind = (result_name(run.config), arrays[run.id]) if run.id in jobs else ()
        groups.setdefault((repr(scripts[run.id]), *kind), []).append(run)
    found = []
    for group in groups.values():
        script, array = scripts[group[0].id], arrays.get(group[0].id)
        if array is None:
            found.append((script, group))
        elif len(group) > 1 and [jobs[run.id] for run in group] == [f"{array}_{i}" for i in range(len(group))]:
            found.append((_after(script, f"aftercorr:{array}"), group))
        else:
            found += [(_after(script, f"afterok:{jobs[run.id]}"), [run]) for run in group]
    return found


def _after(script: Script, dependency: str) -> Script:
    """`script`, started once the run it depends on has ended well, and cancelled when that has failed for good."""
    cluster = script.cluster
    extra = cluster.extra | {"kill-on-invalid-dep": "yes"}
    return replace(script, cluster=replace(cluster, dependency=dependency, extra=extra))


def script_of(plan: Plan) -> str:
    """The batch script of a plan's first run, for show; nothing is written."""
    run = plan.runs[0]
    return _script(run, Sweep(plan.sweep).code / "…").for_run(run.folder, run_submission(run))


def run_submission(run: Planned) -> str:
    """The submission id of a run's own job.sbatch, which anyone may send at any time."""
    return f"run-{run.id}-{uuid.uuid5(uuid.NAMESPACE_URL, str(run.folder.parent)).hex[:8]}"


def _settled(plan: Plan, local: bool) -> Iterator[tuple[str, Fate]]:
    """Runs that need nothing: finished, or alive in the queue."""
    lines, limits = ledger.read(plan.sweep), Limits()
    live = _live(plan, local, lines)
    adopted = []
    for run in plan.runs:
        if RunFolder(run.folder).done and not unprobed(run.config, run.folder):
            yield run.id, Fate(run, "finished")
        elif (found := live.get(run.id)) is not None:
            job, submission, known = found
            if not known:
                adopted.append(_line("adopted", run, submission, job.id))
            yield run.id, _under_way(run, job, lines, limits)
    if adopted:
        ledger.append_all(plan.sweep, adopted)


def _under_way(run: Planned, job: slurm.Job, lines: Sequence[Mapping[str, Any]], limits: Limits) -> Fate:
    """The fate of a run whose job is in the queue. What Slurm held after a requeue is released."""
    if job.waits:
        stuck, why = release(Run(run.folder, job.id), job, lines, limits)
        return Fate(run, "stuck" if stuck else "waiting", job.id, why)
    return Fate(run, job.state.lower(), job.id, "" if job.state == "RUNNING" else "ending")


def _live(plan: Plan, local: bool, lines: Sequence[Mapping[str, Any]]) -> dict[str, tuple[slurm.Job, str, bool]]:
    """By run id: its live job, the submission that brought it, and whether the ledger knows the job. A job whose
    dependency can't come true any more is ended: another takes its place."""
    if damaged := ledger.damaged(plan.sweep):
        log.warning(
            "%s: passed over damaged line %s; jobs are found in the queue all the same",
            Sweep(plan.sweep).ledger, ", ".join(map(str, damaged)),
        )  # fmt: skip
    known = {(line["submission"], line["job"]) for line in lines if line["event"] in ("submitted", "adopted")}
    answered = {line["submission"] for line in lines if line["event"] in ("submitted", "adopted", "failed")}
    unanswered = [line for line in lines if line["event"] == "intent" and line["submission"] not in answered]
    if unanswered:
        # Its launcher was killed, and sbatch may be on its way: Slurm is to have the last word.
        at = as_number(unanswered[-1].get("at")) or 0.0
        time.sleep(max(0.0, min(UNANSWERED, at + UNANSWERED - time.time())))
    own = {run_submission(run): run.id for run in plan.runs}
    scripts = {str(RunFolder(run.folder).script.resolve()): run_submission(run) for run in plan.runs}
    members: dict[str, list[str]] = {}
    found, hopeless = {}, []
    for job in here.jobs(plan.sweep) if local else slurm.my_jobs():
        submission = job.submission or _sent(job.script, scripts)
        if not submission:
            continue
        if submission in own:
            run, noted = own[submission], True
        else:
            if submission not in members:
                members[submission] = Submission(Sweep(plan.sweep).submissions / submission).members()
            if job.index >= len(members[submission]):
                continue
            run, noted = members[submission][job.index], (submission, job.id) in known
        if job.reason == reasons.NEVER:
            hopeless += [job.id] if run in own.values() else []
        else:
            found[run] = (job, submission, noted)
    _end(hopeless)
    return found


def _end(hopeless: Sequence[str]) -> None:
    """Cancels jobs that others replace; where nobody asked Slurm to, it would keep them for ever."""
    try:
        if hopeless:
            slurm.run(["scancel", *hopeless])
    except SlurmError as error:
        log.info("jobs whose dependency can't come true any more were not cancelled: %s", error)


def _sent(script: str, own: Mapping[str, str]) -> str:
    """The submission of a batch script of ours, whose job lost its comment; "" for any other. `own`: those of runs."""
    path = Path(script).resolve()
    return own.get(str(path)) or (path.parent.name if path.parent.parent.name == "submissions" else "")


def _code(plan: Plan, run: Planned, current: Path) -> tuple[Path, str]:
    """The snapshot that the run is to use, and what to say about it if it had another."""
    had = frozen_code(run.folder)
    if not had or had == current.name:
        return current, ""
    if plan.code == "frozen":
        kept = snapshot.kept(plan.sweep, had)
        if kept is None:
            raise SubmitError(
                f"{had!r}, the code of {run.folder.name} in {Sweep(plan.sweep).code}, is gone; leave out code=frozen "
                "to use today's"
            )
        return kept, f"with its code of before ({had})"
    return current, f"with today's code ({current.name}, was {had}; code=frozen keeps the old)"


def _script(run: Planned, code: Path) -> Script:
    folder = RunFolder(run.folder)
    last = folder.last_attempt()
    took = as_number(last.status().get("save_seconds")) if last else None
    return Script(run.cluster, code, f"golang-{run.folder.parent.name}", Path.cwd(), lead_time(run.cluster, took))


def _write(script: Script, run: Planned) -> None:
    freeze(run, script.code)
    with writing(run.folder):
        text = script.for_run(run.folder, run_submission(run))
        files.write(RunFolder(run.folder).script, text, durable=False)


def _hand_over(
    plan: Plan, script: Script, runs: Sequence[Planned], local: bool, lock: int
) -> list[tuple[Planned, str]]:
    """One array. The intent is written first; the job's comment carries the submission's id."""
    submission = Submission(Sweep(plan.sweep).submissions / uuid.uuid4().hex[:12])
    folders = [run.folder for run in runs]
    with writing(submission.path):
        submission.make(folders)
    ledger.append_all(plan.sweep, [_line("intent", run, submission.id, "", at=time.time()) for run in runs])
    send = send_here if local else send_to_slurm
    try:
        jobs = send(script, submission, folders, lock)
    except SlurmError as error:
        said = str(error)
        ledger.append_all(plan.sweep, [_line("failed", run, submission.id, "", reason=said) for run in runs])
        raise SlurmError(
            f"{said}{_advice(said, script.cluster)}. {len(runs)} of the sweep's runs are frozen in {plan.sweep} and "
            "not submitted; type the same command again once that is mended"
        ) from None
    sent, code = list(zip(runs, jobs, strict=True)), script.code.name
    ledger.append_all(plan.sweep, [_line("submitted", run, submission.id, job, code=code) for run, job in sent])
    return sent


def _advice(said: str, cluster: Cluster) -> str:
    remedies = {
        "partition": f"cluster.partition={cluster.partition}: `sinfo --summarize` lists the partitions",
        "dependency": f"cluster.dependency={cluster.dependency}: it must name a job that Slurm still knows",
        "qos|account|limit|quota": "`sacctmgr show assoc user=$USER` shows the limits, cluster.account and cluster.qos "
        "choose others",
        "node configuration|gres": "no node has that much: `sinfo -o '%P %D %c %m %G'` shows what there is",
    }
    return next((f"; {what}" for words, what in remedies.items() if re.search(words, said, re.IGNORECASE)), "")


def _line(event: str, run: Planned, submission: str, job: str, **facts: object) -> dict[str, object]:
    own = {"event": event, "run": run.id, "folder": run.folder.name}
    return own | {"submission": submission, "job": job, **facts}
