"""Why an attempt failed, whether another one may go better, and which setting to change if not."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.distributed import DistError

from golang.engine.runfolder import Attempt, read_json, write_atomically
from golang.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    GolangError,
    NonFiniteError,
    PeerLostError,
    StorageError,
)

PEER_LOST = "peer lost"
HANG = "hang"
KILLED = "killed"  # what a rank died of that left no word, until someone knows better
_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO}
)
_DEVICE = re.compile(  # what torch 2.11 to 2.13, NCCL, gloo, cuDNN, cuBLAS and Triton say
    r"CUDA (unknown )?error|CUDA driver|CUDA GPUs are available|cudaGetDeviceCount|NVIDIA driver|NVML_|Triton Error|"
    r"NCCL (error|operation|communicator)|Watchdog caught collective|before timing out|gloo/transport|pair closure|"
    r"(cuDNN( Frontend)?|cuFFT|cusolver) error|(CUDNN|CUBLAS|CUFFT|CUSOLVER)_STATUS|find an engine|ECC error",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"out of (shared )?memory|can(no|')t allocate memory|bad_alloc|_OUT_OF_MEMORY|ALLOC(ATION)?_FAILED|"
    r"DefaultCPUAllocator|file </torch_.*No space left|"  # shared memory, which is the host's
    r"DataLoader worker .*(killed by signal: Killed|exited unexpectedly$)",  # whom the kernel kills first
    re.IGNORECASE | re.MULTILINE,
)
_PROGRAM = re.compile("device-side assert|no kernel image")  # a CUDA error, but not of the machine


@dataclass(frozen=True)
class Cause:
    """One of the ways in which an attempt fails by itself."""

    name: str
    retry: bool = False  # whether the same again may go better
    remedy: str = ""


def classify(error: BaseException) -> Cause:
    """The cause behind an exception of the trainer."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, PeerLostError):
        return Cause(PEER_LOST, retry=True)
    if isinstance(error, NonFiniteError):
        return Cause("non-finite")
    if isinstance(error, StorageError):
        return Cause("disk", retry=True)
    if isinstance(error, DataError):
        return Cause("data")
    if isinstance(error, (ConfigError, CheckpointError)):
        return Cause("settings" if isinstance(error, ConfigError) else "checkpoint")
    if isinstance(error, GolangError):
        return Cause("refused")
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return Cause(
            "out of memory",
            remedy="more GPUs (cluster.nodes, cluster.gpus_per_node) share the batch; precision=bf16, a smaller "
            "optim.batch_size or fewer crops (augment.small_count) need less; for the host's memory: cluster.mem, "
            "data.workers",
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return Cause("disk", retry=True, remedy="look at the disk's space, quota and health")
    broken = isinstance(error, (ConnectionError, TimeoutError, DistError))
    if broken or (isinstance(error, RuntimeError) and _DEVICE.search(text) and not _PROGRAM.search(text)):
        return Cause("CUDA or NCCL error", retry=True, remedy="if it stays with one node: cluster.exclude=NODE")
    return Cause("bug", remedy="the traceback is in the attempt's log; code=frozen keeps the code of the last attempt")


@contextlib.contextmanager
def recorded(attempt: Attempt, rank: int) -> Iterator[None]:
    """Leaves a rank's failure in the attempt's folder while the exception goes on; rank 0 says what all ranks failed of
    in cause.json."""
    try:
        yield
    except Exception as error:
        cause = classify(error)
        with contextlib.suppress(OSError):
            leave_word(attempt, rank, cause, _sentence(error, cause))
            if rank == 0 and (blame := first_failure(attempt)):
                step = (read_json(attempt.path / "status.json") or {}).get("step", 0)
                name = str(blame.pop("cause"))
                attempt.write_cause(KILLED if name == PEER_LOST else name, step, **blame)
        raise


def leave_word(attempt: Attempt, rank: int, cause: Cause, message: str) -> None:
    """What a rank failed of, for `first_failure`. Raises OSError."""
    facts = {"cause": cause.name, "retry": cause.retry, "message": message, "rank": rank, "host": socket.gethostname()}
    write_atomically(attempt.path / f"failure.rank{rank}.json", json.dumps(facts))


def first_failure(attempt: Attempt) -> dict[str, Any] | None:
    """The failure of the rank that took the others down with it; None if no rank left one.

    Keys: cause, retry, message, rank, host.
    """
    found = [read_json(path) for path in sorted(attempt.path.glob("failure.rank*.json"))]
    known = sorted((facts for facts in found if facts), key=lambda facts: facts.get("cause") == PEER_LOST)
    return known[0] if known else None


def _sentence(error: BaseException, cause: Cause) -> str:
    text = str(error) if isinstance(error, GolangError) else f"{type(error).__name__}: {error}"
    return f"{text.strip()[:2000]}; {cause.remedy}" if cause.remedy else text.strip()[:2000]
