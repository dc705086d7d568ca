"""`python -m launch doctor [SWEEP|RUN]`: what Slurm and the file system here mean for runs, each with its remedy."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golang.runfolder.checkpoints import entries
from golang.runfolder.files import as_number, read_json
from golang.runfolder.folder import Attempt, RunFolder
from launch import slurm
from launch.doctor import storage
from launch.doctor.finding import Finding, check
from launch.doctor.trial_jobs import probe
from launch.errors import SlurmError
from launch.settings import LEAD
from launch.sweep.find import Run

_ASK = "the launcher takes the lead from the measured time: type the same command again (python -m launch resume)"


@dataclass(frozen=True)
class Patient:
    """What is known of the runs that are asked about."""

    place: Path  # where they are, or would be
    options: Mapping[str, str] = field(default_factory=dict)  # of sbatch, from the newest job.sbatch
    save: float | None = None  # seconds, the longest of the newest measured ones
    needed: int = 0  # bytes of checkpoints to come
    minutes: float = 10.0  # between saves

    @classmethod
    def of(cls, runs: Sequence[Run], runs_dir: Path) -> Patient:
        if not runs:
            return cls(runs_dir.absolute())
        folders = [RunFolder(run.path) for run in runs]
        scripts = (folder.script for folder in folders if folder.script.is_file())
        newest = max(scripts, key=lambda script: script.stat().st_mtime, default=None)
        kept = max(_setting(folder, "keep_last", 2) for folder in folders)
        sizes = [entry.path.stat().st_size for folder in folders for entry in entries(folder)]
        return cls(
            runs[0].sweep if len(runs) > 1 else runs[0].path,
            sbatch_options(newest) if newest else {},
            max((took for folder in folders if (took := _save_seconds(folder)) is not None), default=None),
            int(max(sizes, default=0) * (kept + 1) * sum(not folder.done for folder in folders)),
            max(_setting(folder, "every_minutes", 10) for folder in folders),
        )


def examine(runs: Sequence[Run], runs_dir: Path, partition: str | None, probing: bool) -> list[Finding]:
    """All findings. `partition`: instead of the runs' own, or Slurm's default. Never raises for what it finds."""
    patient = Patient.of(runs, runs_dir)
    options = dict(patient.options) | ({"partition": partition} if partition else {})
    findings = list(_slurm(patient, options))
    reachable = findings[0].level == "ok"
    if probing and reachable:
        print("the probe sends two small jobs; it takes a minute or two", file=sys.stderr, flush=True)
        findings += probe(next(path for path in (patient.place, *patient.place.parents) if path.is_dir()), options)
    return [*findings, *storage.look(patient.place, patient.needed, unseen=reachable and not probing)]


def _slurm(patient: Patient, options: Mapping[str, str]) -> Iterator[Finding]:
    try:
        version = slurm.run(["scontrol", "--version"], 20).split()[-1]
        config = slurm.config()
    except SlurmError as error:
        yield Finding("fail", "slurm", str(error),
                      "`scontrol ping` shows whether it is up; cluster=none and cluster=local need none")  # fmt: skip
        return
    yield Finding("ok", "slurm", f"version {version}, cluster {config.get('ClusterName', '')}; the controller answers")
    try:
        chosen = slurm.partitions(options.get("partition"))
    except SlurmError as error:
        yield Finding("fail", "partition", str(error), "`sinfo --summarize` lists them; --partition=NAME chooses one")
        return
    if not chosen:
        yield Finding("warn", "partition", "no partition is Slurm's default, so nothing is known of preemption",
                      "--partition=NAME or a run says which; `sinfo --summarize` lists them")  # fmt: skip
    for partition in chosen:
        yield from _preemption(partition, config, options.get("qos"), patient)
    early = "preempt_send_user_signal" in config.get("SlurmctldParameters", "").lower()
    told = "set: a preemption sends USR2 too" if early else "not set: a preemption sends TERM alone; runs heed both"
    yield Finding("ok", "preempt_send_user_signal", told)
    yield check(config.get("JobRequeue") != "0", "requeue", "allowed (JobRequeue=1)",
                "JobRequeue=0: only jobs that ask are put back in the queue; runs do ask",
                "--probe tries whether that is enough here")  # fmt: skip
    size = slurm.largest_array()
    yield check(size > 1, "arrays", f"up to {size} runs an array (MaxArraySize); more go out as several",
                f"MaxArraySize={config.get('MaxArraySize')}: every run is a job of its own",
                "submitting many takes longer; nothing else changes")  # fmt: skip
    yield Finding("ok", "KillWait", f"{slurm.grace({}, config)[2]:g} s from the last TERM to KILL")
    yield from _lead(patient, options)


def _preemption(
    partition: Mapping[str, str], config: Mapping[str, str], qos: str | None, patient: Patient
) -> Iterator[Finding]:
    """Whether jobs are preempted, how, and whether a save fits what is left to them then."""
    what, kind = f"preemption in {partition['PartitionName']}", config.get("PreemptType", "preempt/none")
    if kind == "preempt/qos":
        what, partition = (
            f"preemption in QOS {qos or 'normal'}",
            _qos(qos or "normal", config.get("PreemptMode", "OFF")),
        )
    mode, grace, kill_wait = slurm.grace(partition, config)
    said = f"PreemptMode={mode}, GraceTime={grace:g} s"
    if kind == "preempt/none" or mode in ("OFF", "WITHIN"):
        yield Finding("ok", what, f"never (PreemptType={kind}, PreemptMode={mode})")
        return
    left, save = grace + kill_wait, patient.save
    lost = f"each preemption repeats up to {patient.minutes:g} min of work"
    if mode == "SUSPEND":
        yield Finding("ok", what, f"{said}: runs are halted in memory and go on; no attempt is counted")
    elif save is not None and save + 3 > left:
        yield Finding("warn", what, f"{said}: {left:g} s from TERM to KILL, and a save takes {save:.1f} s; {lost}",
                      f"ask for GraceTime={round(save * 2 + 10)}, or lower checkpoint.every_minutes")  # fmt: skip
    elif grace == 0:
        fits = "" if save is None else f", and a save takes {save:.1f} s"
        wanted = max(30, round((save or 0) * 2 + 10))
        yield Finding("warn", what, f"{said}: no warning, and KillWait's {kill_wait:g} s to save in{fits}; else {lost}",
                      f"ask for GraceTime={wanted}, or lower checkpoint.every_minutes")  # fmt: skip
    else:
        yield Finding("ok", what, f"{said}: runs save in it and come back")


def _qos(name: str, default: str) -> dict[str, str]:
    """Mode and grace of a QOS, as a partition has them; the cluster's mode where accounting doesn't say."""
    text = ""
    if shutil.which("sacctmgr") is not None:
        with contextlib.suppress(SlurmError):
            text = slurm.run(["sacctmgr", "-nP", "show", "qos", "format=Name,PreemptMode,GraceTime"], 20)
    for line in text.splitlines():
        found, mode, grace = (line.split("|") + [""] * 2)[:3]
        if found == name:
            return {"PreemptMode": default if mode in ("", "cluster") else mode.upper(), "GraceTime": grace or "0"}
    return {"PreemptMode": default}


def _lead(patient: Patient, options: Mapping[str, str]) -> Iterator[Finding]:
    """The measured time of a save against the warning before the time limit."""
    found = re.fullmatch(r"(?:[BR]+:)?\w+@(\d+)", options.get("signal", ""))
    lead, save = int(found[1]) if found else LEAD, patient.save
    if save is None:
        yield Finding("ok", "save time", f"not measured yet; the warning before a time limit is {lead} s")
        return
    said, wanted = f"a save takes {save:.1f} s; the warning before the time limit is {lead} s", round(60 + 4 * save)
    if lead < save:
        yield Finding("fail", "save time", said, f"cluster.lead={wanted}; left to itself, {_ASK}")
    else:
        remedy = f"cluster.lead={wanted}; {_ASK}"
        yield check(lead >= 2 * save + 10, "save time", said, f"{said}, which is tight", remedy)


def sbatch_options(script: Path) -> dict[str, str]:
    """The options of a batch script by their long names; "true" for one without a value."""
    found = {}
    for line in script.read_text(errors="replace").splitlines():
        if match := re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(.*))?", line):
            value = match[2] if match[2] is not None else "true"
            with contextlib.suppress(ValueError):  # a quote that is not closed
                found[match[1]] = shlex.split(value)[0] if value.startswith('"') else value
    return found


def _save_seconds(run: RunFolder) -> float | None:
    """What the newest attempt that measured one says."""
    told = (as_number(Attempt(run, number).status().get("save_seconds")) for number in reversed(run.attempt_numbers()))
    return next((took for took in told if took is not None), None)


def _setting(run: RunFolder, key: str, default: float) -> float:
    """Of the section `checkpoint` in the run's settings."""
    section = read_json(run.config_file).get("checkpoint")
    found = as_number(section.get(key)) if isinstance(section, dict) else None
    return default if found is None else found
