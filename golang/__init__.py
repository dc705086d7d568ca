"""GOLANG: self-supervised pre-training on multi-label images.

    from golang import Config, train
    train(Config.from_dict({"data": {"name": "folder", "root": "photos"}}), "runs/photos")

Names are imported when they are used, so tools that only read run folders need not wait for torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golang.config import Config
    from golang.engine.session import Outcome
    from golang.errors import GolangError
    from golang.processes.local import train_here
    from golang.processes.train import train
    from golang.records.table import runs

# Read when torch is imported. DDP would warn on each start that it looked for unused parameters and found none: we
# have it look because it then keeps its bucket order, which exact resume needs.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

__version__ = "0.1.0"
__all__ = ["Config", "GolangError", "Outcome", "runs", "train", "train_here"]

_HOMES = {
    "Config": "golang.config",
    "GolangError": "golang.errors",
    "Outcome": "golang.engine.session",
    "runs": "golang.records.table",
    "train": "golang.processes.train",
    "train_here": "golang.processes.local",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever has that name
    if name not in _HOMES:
        raise AttributeError(f"module 'golang' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
