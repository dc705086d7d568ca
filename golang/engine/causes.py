"""Why an attempt failed, whether another one may go better, and which setting to change if not."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.distributed import DistError

from golang import errors
from golang.runfolder.causes import Word
from golang.runfolder.folder import Attempt

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
_OURS = {  # the first that fits
    errors.PeerLostError: Word.PEER_LOST, errors.NonFiniteError: Word.NON_FINITE, errors.StorageError: Word.DISK,
    errors.DataError: Word.DATA, errors.ConfigError: Word.SETTINGS, errors.CheckpointError: Word.CHECKPOINT,
    errors.GolangError: Word.REFUSED,
}  # fmt: skip
_PROGRAM = re.compile("device-side assert|no kernel image")  # a CUDA error, but not of the machine


@dataclass(frozen=True)
class Cause:
    """One of the ways in which an attempt fails by itself."""

    word: Word
    retry: bool = False  # whether the same again may go better
    remedy: str = ""


def classify(error: BaseException) -> Cause:
    """The cause behind an exception of the trainer."""
    text = f"{type(error).__name__}: {error}"
    for kind, word in _OURS.items():
        if isinstance(error, kind):
            return Cause(word, retry=word in (Word.PEER_LOST, Word.DISK))
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return Cause(
            Word.MEMORY,
            remedy="more GPUs (cluster.nodes, cluster.gpus_per_node) share the batch; precision=bf16, a smaller "
            "optim.batch_size or fewer crops (augment.small_count) need less; for the host's memory: cluster.mem, "
            "data.workers",
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return Cause(Word.DISK, retry=True, remedy="look at the disk's space, quota and health")
    broken = isinstance(error, (ConnectionError, TimeoutError, DistError))
    if broken or (isinstance(error, RuntimeError) and _DEVICE.search(text) and not _PROGRAM.search(text)):
        return Cause(Word.DEVICE, retry=True, remedy="if it stays with one node: cluster.exclude=NODE")
    return Cause(
        Word.BUG, remedy="the traceback is in the attempt's log; code=frozen keeps the code of the last attempt"
    )


@contextlib.contextmanager
def recorded(attempt: Attempt, rank: int) -> Iterator[None]:
    """Leaves a rank's failure in the attempt's folder while the exception goes on; rank 0 says what all ranks failed of
    in cause.json."""
    try:
        yield
    except Exception as error:
        cause = classify(error)
        with contextlib.suppress(OSError):
            attempt.write_failure(rank, cause.word, cause.retry, _sentence(error, cause))
            if rank == 0 and (blame := first_failure(attempt)):
                word = str(blame.pop("cause"))
                step = attempt.status().get("step", 0)
                attempt.write_cause(Word.KILLED if word == Word.PEER_LOST else word, step, **blame)
        raise


def first_failure(attempt: Attempt) -> dict[str, Any] | None:
    """The failure of the rank that took the others down with it; None if no rank left one."""
    return min(attempt.failures(), key=lambda facts: facts.get("cause") == Word.PEER_LOST, default=None)


def _sentence(error: BaseException, cause: Cause) -> str:
    text = str(error) if isinstance(error, errors.GolangError) else f"{type(error).__name__}: {error}"
    return f"{text.strip()[:2000]}; {cause.remedy}" if cause.remedy else text.strip()[:2000]
