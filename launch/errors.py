"""What can go wrong between a command line and a queue; each says what to do next."""

from __future__ import annotations

import sys

from golang import exits
from golang.errors import GolangError
from golang.sources import installed


class SlurmError(GolangError):
    """Slurm is missing, silent, or said no."""

    exit_status = exits.NO_SLURM


class SubmitError(GolangError):
    """A run could not be frozen or handed over; nothing that exists was lost."""


class LaunchBusyError(GolangError):
    """Another launcher works on the same sweep."""

    exit_status = exits.BUSY


def without(error: ModuleNotFoundError) -> str:
    """What to say where Python lacks a package that the project needs."""
    remedy = "`make setup` makes an environment that has all, and `. .venv/bin/activate` enters it"
    if installed():
        remedy = '`pip install "golang-ssl[launch]"` with that Python brings it'
    return f"{sys.executable} has no module {error.name}: {remedy}"
