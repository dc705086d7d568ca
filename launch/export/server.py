"""MLflow's runs, in a folder or on a server, through its own client."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from golang.records.lives import when
from golang.records.record import Record
from golang.records.table import Runs
from launch.export.source import ExportError, kept_settings, numbers, text

TAG = "golang.run"  # by which a run is found again: sweep/folder
LONGEST = 500  # characters of a setting's value
STATUS = {"finished": "FINISHED", "running": "RUNNING", "not started": "SCHEDULED"}  # any other is FAILED
Point = tuple[str, int, float, int]  # key, step, value, milliseconds since 1970


def send(runs: Runs, sweep: str, address: str) -> list[str]:
    """Brings runs to MLflow, as an experiment of the sweep's name; the id of each run there. What is there already
    is left; a run that holds a point which no longer stands is made anew. Raises ExportError."""
    # Set before MLflow is imported: it would tell of its use, wait for minutes for a server, and keep no plain folder.
    for name, value in (("DISABLE_TELEMETRY", "true"), ("HTTP_REQUEST_MAX_RETRIES", "2"), ("ALLOW_FILE_STORE", "true")):
        os.environ.setdefault(f"MLFLOW_{name}", value)
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ExportError(f"MLflow needs its client ({error}): pip install 'mlflow-skinny>=3.1'") from error
    try:
        client = MlflowClient(address)
        found = client.get_experiment_by_name(sweep)
        experiment = found.experiment_id if found else client.create_experiment(sweep)
        there = _there(client, experiment)
        return [_send(client, experiment, there.get(f"{sweep}/{run.name}"), run, f"{sweep}/{run.name}") for run in runs]
    except MlflowException as error:
        said = (str(error).splitlines() or ["no word"])[0]
        raise ExportError(f"MLflow refuses: {said}; look at the place (--into), then type the command again") from error


def _there(client: Any, experiment: str) -> dict[str, Any]:  # noqa: ANN401 - MLflow's client
    """The runs of an experiment by TAG."""
    found: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_runs([experiment], page_token=token)
        found |= {run.data.tags.get(TAG): run for run in page}
        if not (token := page.token):
            return found


def _send(client: Any, experiment: str, there: Any, run: Record, tag: str) -> str:  # noqa: ANN401 - MLflow's
    points = list(_points(run))
    params = {_name(key): text(value)[:LONGEST] for key, value in kept_settings(run).items()}
    missing = None if there is None else _missing(client, there, points, params)
    if missing is None:
        if there is not None:
            client.delete_run(there.info.run_id)
        began = int(1000 * run.attempts[0].began) if run.attempts else None
        there = client.create_run(experiment, start_time=began, tags={TAG: tag}, run_name=run.name)
        missing = points
    own = str(there.info.run_id)
    _log(client, own, missing, {key: value for key, value in params.items() if key not in there.data.params})
    client.set_tag(own, "golang.state", run.state)
    status = STATUS.get(run.state, "FAILED")
    if there.info.status != status:
        client.update_run(own, status=status)
    return own


def _missing(client: Any, there: Any, points: Sequence[Point], params: dict[str, str]) -> list[Point] | None:  # noqa: ANN401
    """The points that a run there lacks; None if it holds others than those, one twice, or other settings."""
    ours, theirs = {_spot(point): point for point in points}, []
    for key in there.data.metrics:
        theirs += [
            _spot((key, one.step, one.value, one.timestamp))
            for one in client.get_metric_history(there.info.run_id, key)
        ]
    changed, held = any(params.get(key) != value for key, value in there.data.params.items()), set(theirs)
    if changed or len(held) < len(theirs) or held - ours.keys():
        return None
    return [point for spot, point in ours.items() if spot not in held]


def _spot(point: Point) -> tuple[str, int, str]:
    return point[0], point[1], repr(float(point[2]))


def _log(client: Any, own: str, points: Sequence[Point], params: dict[str, str]) -> None:  # noqa: ANN401
    """In batches as large as MLflow takes."""
    from mlflow.entities import Metric, Param

    for first in range(0, len(params), 100):
        batch = list(params.items())[first : first + 100]
        client.log_batch(own, params=[Param(key, value) for key, value in batch])
    for first in range(0, len(points), 1000):
        batch = [Metric(key, value, at, step) for key, step, value, at in points[first : first + 1000]]
        client.log_batch(own, metrics=batch)


def _points(run: Record) -> Iterator[Point]:
    at = run.attempts[0].began if run.attempts else 0.0
    for line in run.metrics():
        at = when(line.get("time")) or at
        yield from ((_name(key), line["step"], value, int(1000 * at)) for key, value in numbers(line).items())
    yield from ((f"score/{_name(name)}", run.step, value, int(1000 * at)) for name, value in run.scores.items())


def _name(key: str) -> str:
    """A name as MLflow allows it, which is also a file's there."""
    return re.sub(r"[^A-Za-z0-9_.:\- ]+", "_", key)[:250].strip(". ") or "_"
