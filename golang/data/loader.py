"""Loader processes that outlive every signal but their trainer's, and never outlive their trainer.

A scheduler's signal reaches the whole process group. A worker that died of it would take the trainer down before the
checkpoint is written, so workers let it pass. In return they must not linger: they obey SIGTERM from the trainer
itself (which is how Python ends its children at exit) and are killed by the kernel when the trainer is.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from golang.config import NUM_LARGE, Augment
from golang.data.crops.multicrop import Crops, MultiCrop, collate
from golang.data.sampler import StepSampler
from golang.errors import DataError

T = TypeVar("T")
_PASSED_OVER = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_HELD = {*_PASSED_OVER, signal.SIGTERM}
_PR_SET_PDEATHSIG = 1
SHM = Path("/dev/shm")  # shared memory, through which workers hand batches over
_AHEAD = 2  # batches that a worker makes in advance
_GRACE = 0.2  # seconds an idle worker has to leave by itself


class Loader(DataLoader[T]):
    """Batches of `dataset` from `workers` such processes; 0 makes them here.

    Workers are forked, so that they share the set's file names and labels with the trainer instead of copying them, and
    what torch draws for them, who need nothing, is not from the run's stream. Further options are DataLoader's.
    """

    def __init__(self, dataset: Dataset[Any], workers: int, **options: Any) -> None:  # noqa: ANN401
        super().__init__(
            dataset,
            num_workers=workers,
            worker_init_fn=worker_init_fn,
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            generator=torch.Generator(),
            prefetch_factor=_AHEAD if workers else None,
            **options,
        )
        if workers:
            self.collate_fn = _Handed(self.collate_fn)

    def __iter__(self) -> _BaseDataLoaderIter:
        # Workers inherit the mask: a signal that arrives while they start waits until worker_init_fn has decided about
        # it. In this process it is delivered to another thread, or as soon as the workers have been started.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        try:
            return super().__iter__()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(error.errno, error.strerror, str(SHM)) from error  # where the queues' semaphores lie
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Handed:
    """Batches in shared memory as soon as they are made. torch puts them there in a thread of the worker that tells
    nobody of an error, and the trainer would wait for the batch for ever."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, items: Any) -> Any:  # noqa: ANN401
        batch = self.collate(items)
        _share(batch)
        return batch


def _share(part: Any) -> None:  # noqa: ANN401 - tensors, and lists of them at any depth
    if isinstance(part, torch.Tensor) and part.numel():
        part.share_memory_()
    for inner in part if isinstance(part, (tuple, list)) else ():
        _share(inner)


def shared_memory(augment: Augment, images: int, workers: int) -> int:
    """Bytes of /dev/shm that batches of `images` fill at most: those made in advance, and the one in use."""
    pixels = NUM_LARGE * augment.large_size**2 + augment.small_count * augment.small_size**2
    return (_AHEAD * workers + 1) * images * 3 * pixels if workers else 0


def train_loader(dataset: MultiCrop, sampler: StepSampler, workers: int, pin_memory: bool) -> Loader[Crops]:
    """Batches of crops (see `collate`), one a step of `sampler`; `pin_memory` for copies that nobody waits for.

    One iterator serves the whole run, over all its epochs, so workers start once. Make it in the main thread, which
    lives as long as the run: the kernel ends the workers with the thread that started them. End it with `close`.
    """
    return Loader(dataset, workers, batch_sampler=sampler, collate_fn=collate, pin_memory=pin_memory)


def worker_init_fn(worker_id: int) -> None:
    """Has the calling loader process ignore all signals but its trainer's; to be called in its main thread."""
    signal.set_wakeup_fd(-1)  # inherited: the worker's signals would be reported to the trainer's listener
    for number in _PASSED_OVER:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_OVER)
    torch.set_num_threads(1)
    if sys.platform == "linux":
        _die_with_trainer()
        # Blocked in every thread of the worker, so that the listener gets it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_trainer, name="sigterm", daemon=True).start()
    else:  # torch's own handler, in place already, obeys the parent; it dies of a stranger's SIGTERM
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def close(iterator: Iterator[Any]) -> None:
    """Ends the workers of an iterator over a `Loader`, if it has any, within a moment: batches in the making too."""
    workers: list[Any] = getattr(iterator, "_workers", [])
    if not workers:
        return
    left = threading.Event()

    def hurry() -> None:
        # In this order: killed while it writes, a worker leaves half a message, on which torch's pinning thread would
        # wait for ever; killed while it looks at torch's event, a lock that the main thread needs to set that event.
        if pinning := getattr(iterator, "_pin_memory_thread", None):
            pinning.join()
        if not left.wait(_GRACE):
            for worker in workers:
                worker.terminate()

    threading.Thread(target=hurry, name="close-loader", daemon=True).start()
    try:
        iterator._shutdown_workers()  # type: ignore[attr-defined]
    finally:
        left.set()


def own_words(error: DataError) -> DataError:
    """A worker's error without the traceback that torch writes around it."""
    kind = type(error)
    return kind(str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")[2].rstrip("\n"))


def _die_with_trainer() -> None:
    """torch's watchdog notices a dead parent only between batches, up to five seconds late; the kernel at once."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # it died before the kernel was told
        os._exit(1)


def _obey_trainer() -> None:
    """Leaves at a SIGTERM of the parent, at once and with 0: the trainer takes another exit code for a crash."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
