"""Errors a person can act on: what is wrong, the value, the next command."""

from __future__ import annotations

from golang import exits


class GolangError(Exception):
    """Base of every error that is shown as one message, without a traceback."""

    exit_status = exits.REFUSED


class ConfigError(GolangError):
    """A setting that cannot work, found before any data is read."""


class DataError(GolangError):
    """A data set that is missing, incomplete or contradictory."""


class UnlabelledError(DataError):
    """A data set without labels, or without labelled images to evaluate on."""


class StorageError(DataError):
    """Storage that fails, which says nothing about what lies there: another attempt may find it well again."""

    exit_status = exits.STORAGE


class CheckpointError(GolangError):
    """A checkpoint that is damaged or belongs to another run."""


class RunBusyError(GolangError):
    """Another process holds the run folder."""

    exit_status = exits.BUSY


class FirstRankError(GolangError):
    """What rank 0 failed of, on the other ranks, which leave with its exit status."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(f"rank 0: {message}")
        self.exit_status = exit_status


class RendezvousError(GolangError):
    """The ranks can't find each other: rank 0 was not heard of, or has no port to listen on."""

    exit_status = exits.NOT_MET


class PeerLostError(GolangError):
    """Another rank is gone, so nothing can be computed together any more."""

    exit_status = exits.PEER_LOST


class NonFiniteError(GolangError):
    """The loss or a gradient is NaN or Inf."""

    exit_status = exits.NON_FINITE
