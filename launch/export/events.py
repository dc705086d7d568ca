"""TensorBoard's event files: a folder for each run, with its metrics, its scores and its settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from golang.records.lives import when
from golang.records.record import Record
from golang.records.table import Runs
from golang.runfolder.files import make_private
from launch.export.source import ExportError, kept_settings, numbers, text

FILES = "events.out.tfevents.*"


def write_events(runs: Runs, folder: Path) -> list[Path]:
    """Writes each run's events anew, in place of earlier ones; the folders. Raises ExportError without tensorboard,
    OSError."""
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise ExportError(f"TensorBoard's files need its package ({error}): pip install 'tensorboard>=2.16'") from error
    made = []
    for run in runs:
        place = folder / run.name
        fresh = place / ".new"
        shutil.rmtree(fresh, ignore_errors=True)
        make_private(fresh)
        writer = EventFileWriter(str(fresh))
        for event in _events(run):
            writer.add_event(event)
        writer.close()
        for old in place.glob(FILES):
            old.unlink()
        for file in fresh.glob(FILES):
            file.rename(place / file.name)
        fresh.rmdir()
        made.append(place)
    return made


def _events(run: Record) -> Iterator[Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    at = run.attempts[0].began if run.attempts else 0.0
    known = {key: value for key, value in kept_settings(run).items() if value is not None}
    settings = {
        key: value if isinstance(value, (bool, int, float, str)) else text(value) for key, value in known.items()
    }
    yield Event(wall_time=at, step=0, summary=hparams_pb(settings, start_time_secs=at))
    for line in run.metrics():
        at = when(line.get("time")) or at
        values = [Summary.Value(tag=key, simple_value=value) for key, value in numbers(line).items()]
        yield Event(wall_time=at, step=line["step"], summary=Summary(value=values))
    scores = [Summary.Value(tag=f"score/{name}", simple_value=value) for name, value in run.scores.items()]
    if scores:
        yield Event(wall_time=at, step=run.step, summary=Summary(value=scores))
