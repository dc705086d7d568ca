"""Which Slurm this machine has, and the time-outs of a test cluster that fit it."""

from __future__ import annotations

import functools
import os
import re
import subprocess

from .cluster import path


@functools.cache
def release() -> str:
    """Slurm's release, "22.05"; `FileNotFoundError` where there is none."""
    told = subprocess.run(["slurmctld", "-V"], env={**os.environ, "PATH": path()}, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+", told.stdout)
    assert found is not None, f"slurmctld -V says no version: {told.stdout!r}"
    return found[0]


def quick(*extra: str) -> dict[str, object]:
    """Fields of `Config` under which a lost node is noticed soon, but none that lives is taken for lost. `extra` are
    further lines for slurm.conf."""
    # 24.11 takes idle nodes for lost now and then if it may hear nothing of them for 3 s.
    seconds = 10 if release() == "24.11" else 3
    return {"slurmd_timeout": seconds, "extra": (*extra, "MessageTimeout=3", "TCPTimeout=1")}


def of_gpus(number: int) -> str:
    """How `scontrol show job` says that a job has so many GPUs on each node."""
    return f"gres{':' if release() == '22.05' else '/'}gpu:{number}"


def restarts_after_grace() -> set[str]:
    """What `Restarts` may be of a job that went back in its grace and has completed since: 24.11 puts it into the queue
    once more then, where it finds that it is done."""
    return {"1", "2"} if release() == "24.11" else {"1"}
