"""`python -m launch sync SWEEP|RUN`: one clean W&B run of each run, from its metrics.jsonl."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from golang.errors import GolangError
from golang.runfolder.folder import RunFolder
from golang.tracking.publish import publish
from launch.sweep.find import Run
from launch.text import plain


def sync(runs: Sequence[Run], offline: bool) -> int:
    """Sends runs, and says of each what became of it; 1 if one could not be dealt with."""
    code = 0
    for run in runs:
        fate, file = "is being trained now; when it has stopped, the same command sends it", sys.stderr
        try:
            if not RunFolder(run.path).held:
                fate, file = publish(run.path, offline), sys.stdout
        except GolangError as error:
            fate = str(error)
        print(plain(f"{run.path.name}: {fate}"), file=file, flush=True)
        code = code if file is sys.stdout else 1
    return code
