"""What a rank says: on the terminal, and in the file of its attempt."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from golang.errors import GolangError


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard output at that moment: while a progress bar is shown, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def set_up(rank: int) -> None:
    """Rank 0 speaks to the terminal; the others only of warnings, with their number."""
    handler = _Terminal()
    prefix = "" if rank == 0 else f"rank {rank}: "
    handler.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(message)s", "%H:%M:%S"))
    root = logging.getLogger("golang")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    root.propagate = False


@contextlib.contextmanager
def kept_in(path: Path) -> Iterator[None]:
    """Everything this rank says while entered goes to a file too, a traceback included."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("golang")
    logger.addHandler(handler)
    try:
        yield
    except GolangError as error:
        # To the file alone: whoever catches it says it on the terminal.
        handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, str(error), (), None))
        raise
    except Exception:
        logger.exception("this rank failed")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()


def leave_now(status: int) -> NoReturn:
    """Ends this process without taking its interpreter apart, which with torch in it lasts a second and more: a job
    is not requeued, nor its node free, before its last process has gone. Open logs are flushed."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)
