"""Who is told how an attempt goes: the scheduler's side of a requeue, W&B's mirror, the periodic probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from golang.config import Config
from golang.runfolder.folder import Attempt

if TYPE_CHECKING:  # the launcher's listener is known where torch is not loaded
    from torch import nn


class Listener:
    """Told on rank 0, but for `due`; by default it does nothing."""

    def begun(self, config: Config, attempt: Attempt) -> None:
        """The attempt's first step is about to begin, and metrics.jsonl ends where it starts."""

    def due(self, epochs: int) -> bool:
        """Whether it wants to look at the trunk after so many epochs, which is saved before. Asked on every rank."""
        return False

    def look(self, trunk: nn.Module, step: int, epochs: int, stopped: Callable[[], bool]) -> None:
        """Looks, while the other ranks wait; to be left early once `stopped` says so."""

    def saved(self, seconds: float) -> None:
        """The first periodic save took that long. Called by a thread of its own."""

    def stopping(self) -> None:
        """All ranks agreed to stop; the last save begins, which may not fit the time left."""

    def left(self, cause: str) -> None:
        """The run was stopped and is saved; the ranks leave after this."""
