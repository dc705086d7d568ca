"""What can go wrong between a command line and a queue; each says what to do next."""

from __future__ import annotations

from golang.errors import GolangError


class SlurmError(GolangError):
    """Slurm is missing, silent, or said no."""

    exit_status = 69


class SubmitError(GolangError):
    """A run could not be frozen or handed over; nothing that exists was lost."""


class LaunchBusyError(GolangError):
    """Another launcher works on the same sweep."""

    exit_status = 73
