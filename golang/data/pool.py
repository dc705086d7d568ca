"""Many images, chunk by chunk, in processes of their own."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from golang.data.progress import Advance

T = TypeVar("T")


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(
    work: functools.partial[T], images: int, chunk: int, workers: int, advance: Advance
) -> Iterator[tuple[int, T]]:
    """(start, `work(start, stop)`) for every `chunk` of `images`, in any order: by this process if `workers` < 2."""
    left = {start: min(start + chunk, images) for start in range(0, images, chunk)}
    done = 0
    if workers > 1:
        # Not forked from this process, which may hold threads and a GPU, but from a server that did the imports once.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([work.func.__module__])
        pool = ProcessPoolExecutor(workers, context, follow_parent)
        try:
            futures = {pool.submit(work, start, stop): start for start, stop in left.items()}
            for future in as_completed(futures):
                start, result = futures[future], future.result()
                done += left.pop(start) - start
                yield start, result
                advance(done, images)
        except BrokenProcessPool:
            pass  # a process was killed, or could not import the main module again (it may be standard input)
        finally:
            pool.shutdown(cancel_futures=True)
    for start, stop in left.items():
        yield start, work(start, stop)
        done += stop - start
        advance(done, images)


def follow_parent() -> None:
    """Leaves Ctrl-C and a lost terminal to the parent, and dies with it: an orphan would go on writing."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
