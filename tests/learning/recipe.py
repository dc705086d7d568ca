"""The demo's settings, composed from the files in configs/ as `python run.py` composes them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from golang.config import Config
from launch.planning.cells import read
from launch.planning.compose import composing, resolved

_ALONE = threading.Lock()  # Hydra composes once at a time in a process


def demo(overrides: Sequence[str] = ()) -> Config:
    """The trainer's settings of experiment=demo with overrides."""
    with _ALONE, composing() as compose:
        return read(resolved(compose(["experiment=demo", *overrides]))[0])[0]
