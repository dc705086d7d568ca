"""`python -m launch sync SWEEP|RUN`: one clean W&B run of each run, from its metrics.jsonl."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from golang.errors import GolangError
from golang.runfolder.folder import RunFolder
from golang.tracking.publish import publish
from launch.sweep.find import Run


def sync(runs: Sequence[Run], offline: bool) -> Iterator[tuple[Run, str, bool]]:
    """Of each run, as it is dealt with: what became of it, and whether that is well."""
    for run in runs:
        if RunFolder(run.path).held:
            yield run, "is being trained now; when it has stopped, the same command sends it", False
            continue
        try:
            yield run, publish(run.path, offline), True
        except GolangError as error:
            yield run, str(error), False
