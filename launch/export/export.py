"""`python -m launch export SWEEP --to FORMAT`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from golang.records.table import Runs
from golang.runfolder.files import make_private, refuse_link, refuse_links_below
from launch.export.events import write_events
from launch.export.server import send
from launch.export.source import ExportError, runs_of
from launch.export.tables import write_csv, write_parquet
from launch.sweep.paths import Sweep

MLFLOW = "mlflow"
_WRITERS: Mapping[str, Callable[[Runs, Path], list[Path]]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "tensorboard": write_events,
}


def export(sweep: Path, to: str, into: str | None = None) -> str:
    """Exports all runs of a sweep; where they are now, in a line. Typed again it leaves each point there once, as the
    runs have it then.

    Args:
        to: csv, parquet, tensorboard or mlflow.
        into: a folder, or for MLflow also a server's address; by itself a folder in the sweep's.
    Raises: ExportError where there is no run, a package is missing or nothing can be written; ConfigError for a link.
    """
    runs = runs_of(sweep)
    if to == MLFLOW and (address := into or os.environ.get("MLFLOW_TRACKING_URI")) and "://" in address:
        return f"{len(send(runs, sweep.name, address))} runs are in MLflow's experiment {sweep.name}"
    place = Path(into).expanduser().absolute() if into else Sweep(sweep).exports / to
    try:
        refuse_link(place.parent)
        refuse_link(place)
        make_private(place)
        refuse_links_below(place)
        if to == MLFLOW:
            send(runs, sweep.name, place.as_uri())
            line = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {shlex.quote(str(place))}"
            return f"{place}\nto look at it: {line}"
        made = _WRITERS[to](runs, place)
    except OSError as error:
        raise ExportError(f"can't write to {place}: {error.strerror}; name another folder with --into") from error
    return str(place) if to == "tensorboard" else "\n".join(str(path) for path in made)
