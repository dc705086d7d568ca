"""Errors a person can act on: what is wrong, the value, the next command."""

from __future__ import annotations


class GolangError(Exception):
    """Base of every error that is shown as one message, without a traceback."""

    exit_status = 2


class ConfigError(GolangError):
    """A setting that cannot work, found before any data is read."""


class DataError(GolangError):
    """A data set that is missing, incomplete or contradictory."""


class StorageError(DataError):
    """Storage that fails, which says nothing about what lies there: another attempt may find it well again."""

    exit_status = 79


class CheckpointError(GolangError):
    """A checkpoint that is damaged or belongs to another run."""


class RunBusyError(GolangError):
    """Another process holds the run folder."""

    exit_status = 73


class FirstRankError(GolangError):
    """What rank 0 failed of, on the other ranks, which leave with its exit status."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(f"rank 0: {message}")
        self.exit_status = exit_status


class PeerLostError(GolangError):
    """Another rank is gone, so nothing can be computed together any more."""

    exit_status = 76


class NonFiniteError(GolangError):
    """The loss or a gradient stopped being a number."""

    exit_status = 74
