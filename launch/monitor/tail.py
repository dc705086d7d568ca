"""A rank's log as it grows, in lines that are safe to show and never too many."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from launch.text import plain

FIRST = 64 * 1024  # bytes of a log that are shown when it is opened
BEHIND = 1024 * 1024  # bytes; who is further behind leaves some out
LONGEST = 2000  # bytes of a line
_CHUNK = 64 * 1024


class Tail:
    """Reads a log from near its end on."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, also for a link and for what is no plain file."""
        # A pipe would keep its reader waiting, and a link would show another file.
        self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        self._at, self._rest, self._cut, self._idle, self._opened = 0, b"", False, False, False

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self) -> list[str]:
        """The lines that came since; none if there are none. A line without an end is shown once nothing follows it."""
        size, lines = os.fstat(self._file).st_size, []
        if size < self._at:
            lines.append("--- the file begins anew ---")
            self._at, self._rest, self._cut = 0, b"", False
        if size - self._at > (BEHIND if self._opened else FIRST):
            lines.append(f"--- {size - FIRST - self._at:,} bytes are left out here: `launch logs` prints all ---")
            self._at, self._rest, self._cut = size - FIRST, b"", True
        self._opened = True
        chunk = os.pread(self._file, _CHUNK, self._at)
        self._at += len(chunk)
        *whole, rest = (self._rest + chunk).split(b"\n")
        if self._cut and whole:
            whole, self._cut = whole[1:], False
        lines += map(shown, whole)
        if rest and not self._cut and (len(rest) > LONGEST or (not chunk and self._idle)):
            lines.append(shown(rest))
            self._cut = len(rest) > LONGEST
            rest = b""
        self._rest, self._idle = b"" if self._cut else rest, not chunk
        return lines


def shown(line: bytes) -> str:
    """What a terminal would show of a line: of a bar that was drawn over and over, the last; what steers it as Python
    writes it; of a long one, the beginning."""
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    more = " … (cut here)" if len(last) > LONGEST else ""
    return plain(last[:LONGEST].decode(errors="replace"), keep="\t") + more
