"""Where this code lies, and how a process started by it runs the same code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # holds golang/ and launch/; in a checkout configs/ and run.py too
_PACKED = Path("launch/configs")  # what a wheel makes of configs/


def installed(root: Path = ROOT) -> bool:
    """Whether the code at `root` came in a wheel. Then what lies around it is not ours, nor is a git repository."""
    return (root / _PACKED).is_dir()


def configs(root: Path = ROOT) -> Path:
    """The files that a command line can be composed of, beside the code at `root`."""
    return root / (_PACKED if installed(root) else "configs")


def program() -> str:
    """What a person types before the settings of a training."""
    return "golang train" if installed() else "python run.py"


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` for a Python that imports this code, and no module that lies in its working folder (the latter since
    Python 3.11)."""
    paths = filter(None, [str(ROOT), environ.get("PYTHONPATH")])
    return {**environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
