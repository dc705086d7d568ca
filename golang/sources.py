"""Where this code lies, and how a process started by it runs the same code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # holds golang/, launch/, configs/ and run.py


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` for a Python that imports this code, and no module that lies in its working folder (the latter since
    Python 3.11)."""
    paths = filter(None, [str(ROOT), environ.get("PYTHONPATH")])
    return {**environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
