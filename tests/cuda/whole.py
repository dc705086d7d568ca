"""A whole command on the null driver: `python -m tests.cuda.whole REPORT ARGUMENTS…` is `python run.py ARGUMENTS…`, and
writes to REPORT where its main thread waited for the device, by what it was doing.

No kernel writes anything there, so the watch for NaN and Inf, whose values live on the device, is told that all is
well.
"""

from __future__ import annotations

import collections
import functools
import json
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from golang.evaluation import features
from golang.sources import ROOT
from golang.training import meters
from golang.training.trainer import Trainer
from tests.cuda.counts import NullDriver, counter


def watch_nothing() -> None:
    def on(cls: type[meters.Sentinel], device: torch.device) -> meters.Sentinel:
        return cls(torch.tensor(meters.NEVER).to(device), torch.tensor(0).to(device))

    meters.Sentinel.on = classmethod(on)  # type: ignore[assignment]
    meters.Sentinel.look = lambda *_: None  # type: ignore[method-assign]


class Watched:
    """Where the main thread waits while it is in what is watched."""

    def __init__(self) -> None:
        self.counts = counter()
        self.seen: dict[str, list[dict[str, int]]] = collections.defaultdict(list)

    def watch(self, owner: Any, method: str) -> None:
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def outer(*arguments: Any, **more: Any) -> Any:
            with self.counts.places(threading.main_thread()) as places:
                done = inner(*arguments, **more)
            self.seen[method].append(dict(places))
            return done

        setattr(owner, method, outer)


def main(report: str, arguments: list[str]) -> None:
    watched = Watched()
    if isinstance(watched.counts, NullDriver):
        watch_nothing()
        for owner, method in (
            (Trainer, "_train_on"), (Trainer, "_save"), (Trainer, "_log"), (features, "pooled_features"),
        ):  # fmt: skip
            watched.watch(owner, method)
    sys.argv = ["run.py", *arguments]
    try:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    finally:
        Path(report).write_text(json.dumps(watched.seen))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
