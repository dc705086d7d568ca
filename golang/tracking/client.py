"""One run of ours as one run of W&B, through its own client. What is sent is read from the run's folder."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from golang import __version__
from golang.config import Config
from golang.config.checks import ON_ANY_SET
from golang.errors import GolangError
from golang.runfolder.evaluations import DATA
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics
from golang.runfolder.results import PROBE, of_protocol, results
from golang.sources import ROOT, installed
from golang.tracking.ticket import Ticket

PROJECT = "golang"
Mode = Literal["online", "offline"]
JobType = Literal["pretrain", "eval"]
PRECISIONS = ("mAP", "AP50", "AP75")  # of a result, and of the masks in it
PROBED = ("step", "mAP", "l2", "seconds")  # of a probe while training, as probe/…


class TrackingError(GolangError):
    """W&B can't be used now. Training goes on without it; metrics.jsonl has everything."""


class NoKeyError(TrackingError):
    """This machine has no key for W&B."""


class UnreachableError(TrackingError):
    """W&B did not answer."""


class Client:
    """A run of W&B that is open."""

    def __init__(self, run: RunFolder, ticket: Ticket, opened: Any, mode: Mode) -> None:  # noqa: ANN401 - no types
        self.run, self.ticket, self.mode, self._opened = run, ticket, mode, opened
        self.folder = Path(opened.dir).parent  # that W&B's client writes to
        # W&B's server says what it has: all else that metrics.jsonl holds is sent, also what an attempt that was
        # killed had handed over in vain. It takes no step twice, and none that is lower than its last.
        self.after = opened.starting_step - 1 if mode == "online" else ticket.logged

    @property
    def url(self) -> str:
        """Where it can be looked at; "" if that is nowhere yet."""
        return str(self._opened.url or "") if self.mode == "online" else ""

    def log(self, lines: Sequence[dict[str, Any]]) -> None:
        """Sends lines of metrics.jsonl, but for those that W&B has, and the probes taken between them.

        What W&B gets is a function of the lines, whenever they are read: a probe after step p is part of step p + 1,
        which no other probe is, and goes out with the first line of a step beyond p. By then its file holds it.
        """
        probes = {line["step"] + 1: line for line in read_metrics(self.run.probes_file)} if lines else {}
        for line in lines:
            when = datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp() if "time" in line else None
            for step in sorted({line["step"], *(step for step in probes if step < line["step"])}):
                if step <= self.after:
                    continue
                values = {key: value for key, value in line.items() if key != "time"} if step == line["step"] else {}
                if step in probes:
                    values |= {f"probe/{key}": probes[step][key] for key in PROBED if key in probes[step]}
                values |= {"_timestamp": when} if when is not None else {}
                self._opened.log(values, step=step, commit=True)
                self.after = step

    def take_over(self) -> None:
        """Follows offline clients that did not end, as their processes were killed: what they had not yet written is
        lost. Their folders are put aside, and their steps are written again here."""
        if self.mode == "offline":
            for left in self.run.wandb.glob("offline-run-*"):
                if left.name not in (*self.ticket.whole, self.folder.name):
                    left.rename(left.with_name(f"unfinished-{left.name}"))

    def keep_mark(self, ended: bool = False) -> None:
        """Writes down how far W&B has got: offline, where files are whole only then, when the client has ended."""
        if ended or (self.mode == "online" and self.after > self.ticket.logged):
            whole = (*self.ticket.whole, self.folder.name) if self.mode == "offline" else self.ticket.whole
            self.ticket = self.ticket.noting(self.run, logged=max(self.after, self.ticket.logged), whole=whole)

    def summarise(self) -> None:
        """Puts the evaluation's figures and pictures into the summary."""
        self._opened.summary.update(summary(self.run))

    def finish(self, status: int, preempting: bool = False) -> None:
        """Ends this client's part of the run; waits until all is sent, or on disk."""
        import wandb

        if preempting:
            self._opened.mark_preempting()
        self._opened.finish(exit_code=status)
        wandb.teardown()  # its helper may still hold the end of an offline file


def open_client(
    run: RunFolder, mode: Mode, folder: Path, job_type: JobType = "pretrain", timeout: float = 20.0,
    process: int | None = None,
) -> Client:  # fmt: skip
    """Opens the run's W&B run, or goes on with it. An id that W&B refuses is drawn anew, once.

    Args:
        folder: where the client keeps its files.
        timeout: seconds to wait for W&B.
        process: the pid whose memory and processor W&B's system metrics follow.
    Raises: NoKeyError, UnreachableError, and TrackingError for anything else.
    """
    ticket = Ticket.of(run)
    try:
        opened = _init(run, ticket, mode, folder, job_type, timeout, process)
    except _RefusedError as error:
        if ticket.refused:
            raise TrackingError(f"W&B refused the id {ticket.id} too: {error}") from error
        ticket = ticket.anew(run)
        try:
            opened = _init(run, ticket, mode, folder, job_type, timeout, process)
        except _RefusedError as again:
            raise TrackingError(f"W&B refused {ticket.refused} and {ticket.id}: {again}") from again
    return Client(run, ticket, opened, mode)


class _RefusedError(TrackingError):
    """W&B will not have this id again."""


def _init(
    run: RunFolder, ticket: Ticket, mode: Mode, folder: Path, job_type: JobType, timeout: float, process: int | None
) -> Any:  # noqa: ANN401 - wandb's run
    try:
        import wandb
    except ImportError as error:
        raise TrackingError(f"W&B's client is not installed: pip install 'wandb>=0.31' ({error})") from error
    config = run.config()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Git's remote and the source could hold secrets; the code is named by its version instead.
    settings: dict[str, Any] = {"disable_git": True, "disable_code": True}
    settings |= {} if process is None else {"x_stats_pid": process}
    usual = {"silent": True, "console": "off", "init_timeout": timeout}
    settings |= {name: value for name, value in usual.items() if f"WANDB_{name.upper()}" not in os.environ}
    try:
        with _nobody_to_ask():
            opened = wandb.init(
                **_shown_as(run, config, job_type),
                id=ticket.id if job_type == "pretrain" else f"{ticket.id}-{job_type}",
                config=config.to_dict() | {"code": code_version(), "folder": str(run.path)},
                dir=str(folder), mode=mode, resume="allow" if mode == "online" else None, allow_val_change=True,
                settings=wandb.Settings(**settings),
            )  # fmt: skip
    except wandb.errors.Error as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, wandb.errors.CommError):
            if "deleted" in str(error):
                raise _RefusedError(said) from error
            raise UnreachableError(f"W&B does not answer: {said}") from error
        if isinstance(error, wandb.errors.UsageError) and "key" in str(error).lower():
            raise NoKeyError("this machine has no key for W&B") from error
        raise TrackingError(f"W&B refuses: {said}") from error
    opened.define_metric("step")
    opened.define_metric("*", step_metric="step")
    for key in PROBED:  # by their whole names, which come before patterns
        opened.define_metric(f"probe/{key}", step_metric=None if key == "step" else "probe/step")
    return opened


def _shown_as(run: RunFolder, config: Config, job_type: JobType) -> dict[str, Any]:
    """Where W&B shows a run, and as what: by the settings of `tracking`, else by W&B's own variables, else by names of
    ours. Entity and notes that are None W&B's client looks up itself."""
    tracking, environ = config.tracking, os.environ
    tags = tracking.tags or tuple(filter(None, environ.get("WANDB_TAGS", "").split(",")))
    return {
        "project": tracking.project or environ.get("WANDB_PROJECT") or PROJECT,
        "entity": tracking.entity,
        "name": environ.get("WANDB_NAME") or run.path.name,
        "group": environ.get("WANDB_RUN_GROUP") or config.sweep,
        "job_type": environ.get("WANDB_JOB_TYPE") or job_type,
        "notes": tracking.notes,
        "tags": [config.data.name, config.method.name, *tags],
    }


@contextlib.contextmanager
def _nobody_to_ask() -> Iterator[None]:
    """At a terminal W&B's client would ask for a key that it lacks."""
    terminal = sys.stdin
    try:
        with Path(os.devnull).open() as sys.stdin:
            yield
    finally:
        sys.stdin = terminal


def mode_of(config: Config) -> Mode | None:
    """How its settings, and W&B's own WANDB_MODE, want a run tracked; None: not at all."""
    said = os.environ.get("WANDB_MODE", "")
    if config.tracking.name == "none" or said == "disabled":
        return None
    return "offline" if config.tracking.name == "offline" or said in ("offline", "dryrun") else "online"


def summary(run: RunFolder) -> dict[str, Any]:
    """For W&B's summary: the mean average precisions that evaluations wrote, those at one overlap, and the pictures."""
    import wandb

    found: dict[str, Any] = {}
    measured = results(run)
    for name, facts in {**measured, "random_init": read_json(run.untrained_file)}.items():
        found |= _precisions(facts, f"evaluation/{name}")
    # By the first protocol that the run asks for, else by the first there is a result of; else the quick probe's.
    asked = (*run.config().evaluation.protocol, *DATA, *ON_ANY_SET)
    names = (*(name for protocol in asked for name in of_protocol(measured, protocol)), PROBE)
    main = next((figure for name in names if (figure := f"evaluation/{name}/mAP") in found), None)
    if main is not None:
        found["mAP"] = found[main]
    for path in sorted(run.evaluation.glob("*.png")):
        found[f"pictures/{path.stem}"] = wandb.Image(str(path))
    return found


def _precisions(facts: dict[str, Any], name: str) -> dict[str, float]:
    found = {f"{name}/{key}": float(facts[key]) for key in PRECISIONS if isinstance(facts.get(key), (int, float))}
    for key, value in facts.items():
        if isinstance(value, dict):
            found |= _precisions(value, f"{name}/{key}")
    return found


@functools.cache
def code_version(root: Path = ROOT) -> str:
    """Which code this is: the snapshot that a submitted run uses, the installed version, or git's commit; "" if none
    is known."""
    if root.parent.name == "code" and re.fullmatch(r"[0-9a-f]{12}", root.name):
        return f"snapshot {root.name}"
    if installed(root):
        return f"golang {__version__}"
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f"git {done.stdout.strip()}" if done.returncode == 0 else ""
