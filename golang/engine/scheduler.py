"""What a trainer tells the scheduler that runs it, if there is one."""

from __future__ import annotations

from typing import Protocol


class Scheduler(Protocol):
    """Whoever gave this run its time, and takes it away."""

    def saved(self, seconds: float) -> None:
        """The first periodic save took that long. Called by a thread of its own."""

    def leaving(self, cause: str) -> None:
        """The run was stopped and is saved; the ranks leave after this."""
