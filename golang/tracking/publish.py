"""Brings what a run's folder holds to W&B after the fact: one clean run there, however many attempts it took here."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from golang.errors import DataError
from golang.runfolder import lock
from golang.runfolder.evaluations import measured
from golang.runfolder.files import refuse_link
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import read_metrics
from golang.runfolder.results import PROBE, results
from golang.tracking.client import Client, JobType, NoKeyError, TrackingError, UnreachableError, open_client

PATIENCE = 30.0  # seconds for W&B to answer


def publish(run_dir: Path | str, offline: bool = False, job_type: JobType = "pretrain") -> str:
    """Sends a run's metrics and results, or, of job type "eval", its results alone; what became of it, in a line. Of an
    evaluation, the results of the run it measures.

    W&B gets the steps that it has not, so this may be repeated. Without a key or an answer from W&B, or `offline`, a
    clean folder for `wandb sync` is written instead, in place of an earlier one. Raises TrackingError.
    """
    run = RunFolder(Path(run_dir).absolute())
    config = run.config()
    if config.evaluation.checkpoint is not None:
        run, job_type = RunFolder(measured(config, run.path)), "eval"
        if not results(run).keys() - {PROBE}:
            raise TrackingError(f"{run_dir} has no result yet; there is nothing to send")
    refuse_link(run.wandb)
    if job_type == "pretrain":
        if not read_metrics(run.metrics_file):
            raise TrackingError(f"{run.path} has no metrics yet; there is nothing to send")
        return _publish(run, offline, job_type)
    # Evaluations of one run may end at the same moment: whoever comes last sends what all have found.
    run.wandb.mkdir(mode=0o700, exist_ok=True)
    try:
        with lock.hold(run.publish_lock, 2 * PATIENCE):
            return _publish(run, offline, job_type)
    except lock.HeldError as error:
        raise TrackingError(f"results of {run.path} are being sent by {error}; send these later") from None
    except DataError as error:
        raise TrackingError(str(error)) from error


def _publish(run: RunFolder, offline: bool, job_type: JobType) -> str:
    why = ""
    if not offline:
        try:
            client = open_client(run, "online", run.path, job_type, PATIENCE)
            _send(run, client, job_type)
            return f"sent to {client.url}"
        except NoKeyError as error:
            why = f"{error}; after `wandb login`, "
        except UnreachableError as error:
            why = f"{error}; "
    folder = run.clean_wandb(job_type)
    shutil.rmtree(folder, ignore_errors=True)
    client = open_client(run, "offline", folder, job_type, PATIENCE)
    client.after = 0
    _send(run, client, job_type)
    written = next((folder / "wandb").glob("offline-run-*"))
    return f"{why}send it with: wandb sync {shlex.quote(str(written))}"


def _send(run: RunFolder, client: Client, job_type: JobType) -> None:
    if job_type == "pretrain":
        client.log(read_metrics(run.metrics_file))
    client.summarise()
    client.finish(0 if run.done or job_type == "eval" else 1)
