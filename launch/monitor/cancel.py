"""`python -m launch cancel SWEEP|RUN`: ends runs for good. Each saves first, as far as its time allows."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from launch import slurm
from launch.errors import SlurmError
from launch.monitor.status import TURN, standings
from launch.node import notify
from launch.sweep import here, ledger
from launch.sweep.find import Run
from launch.text import plain


def cancel(target: str, runs: Sequence[Run], sure: bool) -> int:
    """Lists what is queued or running, asks unless `sure`, and ends it; 1 if something goes on."""
    jobs, _ = slurm.ask({run.job for run in runs if run.job})
    queued = [run for run in runs if run.job in jobs and jobs[run.job].active]
    stands = zip(runs, standings(runs)[0], strict=True)
    own = [run for run, line in stands if run not in queued and (line.state == "running" or line.last == TURN)]
    if not queued and not own:
        print(f"nothing to cancel: no run of {target} is queued or running")
        return 0
    for run in [*queued, *own]:
        print(f"  {plain(run.path.name)}  {'job ' + run.job if run in queued else 'on this machine'}")
    if not (sure or _agreed(len(queued) + len(own))):
        print("nothing was cancelled; --yes answers in advance")
        return 1
    if queued:
        try:
            slurm.run(["scancel", *(run.job for run in queued)])
        except SlurmError as error:
            print(plain(str(error)), file=sys.stderr)
            return 1
    elsewhere = [run for run in own if not here.stop(run)]
    cancelled = [*queued, *(run for run in own if run not in elsewhere)]
    for run in cancelled:
        ledger.append(run.sweep, "cancelled", run=run.identity, folder=run.path.name, job=run.job)
    notify.tell([notify.End(run.path, "cancelled", run.job or "here") for run in cancelled])
    print(f"cancelled {len(cancelled)}; the same command starts them again where they stood")
    for run in elsewhere:
        print(f"  {plain(run.path.name)} goes on: its process is not on this machine, or not yours to end",
              file=sys.stderr)  # fmt: skip
    return int(bool(elsewhere))


def _agreed(number: int) -> bool:
    try:
        return input(f"cancel these {number} runs? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
