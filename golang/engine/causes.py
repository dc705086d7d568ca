"""Why an attempt failed, whether another one may go better, and which setting to change if not."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.distributed import DistError, DistNetworkError, DistStoreError

from golang import errors
from golang.runfolder.causes import Word
from golang.runfolder.folder import Attempt
from golang.world import PORTS

_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO}
)
_NETWORK = re.compile(  # what gloo says, and NCCL of its sockets
    r"gloo/transport|pair closure|connectFullMesh|connect[^\n]*(refused|reset|timed out|closed|broken)|"
    r"No route to host|Network is unreachable|no socket interface|Unable to find (address|interface)",
    re.IGNORECASE,
)
_DEVICE = re.compile(  # what torch 2.11 to 2.14, NCCL, cuDNN, cuBLAS and Triton say
    r"CUDA (unknown )?error|CUDA driver|CUDA GPUs are available|cudaGetDeviceCount|NVIDIA driver|NVML_|Triton Error|"
    r"NCCL (error|operation|communicator)|Watchdog caught collective|before timing out|"
    r"(cuDNN( Frontend)?|cuFFT|cusolver) error|(CUDNN|CUBLAS|CUFFT|CUSOLVER)_STATUS|find an engine|ECC error",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"out of memory|can(no|')t allocate memory|bad_alloc|_OUT_OF_MEMORY|ALLOC(ATION)?_FAILED|"
    r"DefaultCPUAllocator|"
    r"DataLoader worker .*(killed by signal: Killed|exited unexpectedly$)",  # whom the kernel kills first
    re.IGNORECASE | re.MULTILINE,
)
_SHARED = re.compile(  # through which loader processes hand their batches over, and NCCL's ranks of one node
    r"file </torch_[^\n]*No space left|/dev/shm/nccl[^\n]*No space left|No space left on device: '/dev/shm'|"
    r"out of shared memory|killed by signal: Bus error",
    re.IGNORECASE,
)
_OURS = {  # the first that fits
    errors.PeerLostError: Word.PEER_LOST, errors.RendezvousError: Word.NETWORK,
    errors.NonFiniteError: Word.NON_FINITE, errors.StorageError: Word.DISK,
    errors.DataError: Word.DATA, errors.ConfigError: Word.SETTINGS, errors.CheckpointError: Word.CHECKPOINT,
    errors.GolangError: Word.REFUSED,
}  # fmt: skip
CHOICES = (
    "GLOO_SOCKET_IFNAME=NAME and NCCL_SOCKET_IFNAME=NAME in the environment choose the network interface by which the "
    "nodes reach each other (on Slurm cluster.env.GLOO_SOCKET_IFNAME=NAME …); where a firewall is between them, "
    f"{PORTS}=FIRST-LAST (torchrun: --master-port) chooses the port of rank 0, and gloo and NCCL listen at those of "
    "net.ipv4.ip_local_port_range"
)
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
            return Cause(word, retry=word in (Word.PEER_LOST, Word.NETWORK, Word.DISK))
    if _SHARED.search(text):
        return Cause(
            Word.MEMORY,
            remedy="/dev/shm, the shared memory of loader processes, is full: ask for more (docker run --shm-size=2g, "
            "or --ipc=host); fewer data.workers or a smaller optim.batch_size need less",
        )
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return Cause(
            Word.MEMORY,
            remedy="more GPUs (cluster.nodes, cluster.gpus_per_node) share the batch; precision=bf16, a smaller "
            "optim.batch_size or fewer crops (augment.small_count) need less; for the host's memory: cluster.mem, "
            "data.workers",
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return Cause(Word.DISK, retry=True, remedy="look at the disk's space, quota and health")
    broken = isinstance(error, (ConnectionError, TimeoutError, DistNetworkError, DistStoreError))
    if broken or (isinstance(error, RuntimeError) and _NETWORK.search(text)):
        return Cause(
            Word.NETWORK,
            retry=True,
            remedy=f"if it stays: {CHOICES}",
        )
    device = isinstance(error, RuntimeError) and _DEVICE.search(text) and not _PROGRAM.search(text)
    if device or isinstance(error, DistError):
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
        record(error, attempt, rank)
        raise


def record(error: Exception, attempt: Attempt, rank: int) -> None:
    """Leaves what a rank failed of in the attempt's folder, and by rank 0 what all did, unless that is told already."""
    cause = classify(error)
    with contextlib.suppress(OSError):
        attempt.write_failure(rank, cause.word, cause.retry, _sentence(error, cause))
        if rank == 0 and not attempt.told and (blame := first_failure(attempt)):
            word = str(blame.pop("cause"))
            step = attempt.status().get("step", 0)
            attempt.write_cause(Word.KILLED if word == Word.PEER_LOST else word, step, **blame)


def first_failure(attempt: Attempt) -> dict[str, Any] | None:
    """The failure of the rank that took the others down with it; None if no rank left one."""
    return min(attempt.failures(), key=lambda facts: facts.get("cause") == Word.PEER_LOST, default=None)


def _sentence(error: BaseException, cause: Cause) -> str:
    text = str(error) if isinstance(error, errors.GolangError) else f"{type(error).__name__}: {error}"
    return f"{text.strip()[:2000]}; {cause.remedy}" if cause.remedy else text.strip()[:2000]
