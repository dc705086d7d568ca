"""What a rank says: on the terminal, and in the file of its attempt."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from golang.errors import GolangError


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard output at that moment: while a progress bar is shown, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


class _Screen(io.FileIO):
    """A terminal until it is gone, as with a lost SSH session: what is written from then on goes nowhere, and is no
    error of the run."""

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def _lasting(stream: TextIO) -> TextIO:
    if not stream.isatty():
        return stream
    screen = io.BufferedWriter(_Screen(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(screen, stream.encoding, stream.errors, line_buffering=True)


def set_up(rank: int) -> None:
    """Rank 0 speaks to the terminal; the others only of warnings, with their number."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
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
