"""The demo's settings, composed from the files in configs/ as `python run.py` composes them."""

from __future__ import annotations

from collections.abc import Sequence

from golang.config import Config
from launch.planning.cells import read
from launch.planning.compose import composing, resolved


def demo(overrides: Sequence[str] = ()) -> Config:
    """The trainer's settings of experiment=demo with overrides."""
    with composing() as compose:
        return read(resolved(compose(["experiment=demo", *overrides]))[0])[0]
