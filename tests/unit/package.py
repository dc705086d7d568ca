"""The project as others get it: a copy of what is packed, and a Python of its own to install it into."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

from golang.sources import ROOT

PARTS = ("golang", "launch", "configs", "containers", "docs")
FILES = (
    "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "run.py", "requirements.lock", "cuda.lock",
    "environment.yml", "environment-cpu.yml", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile",
)  # fmt: skip
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
ALONE = ("--no-deps", "--no-index")  # with what is here


def copy(folder: Path) -> Path:
    """The checkout without what building it would leave there, or has left there before."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, folder)
    return folder


def new_python(folder: Path) -> Path:
    """A Python in which nothing is installed."""
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def add_libraries(python: Path) -> None:
    """What this Python has installed, but for what is installed editable: its .pth files count for it alone."""
    site = sysconfig.get_path("purelib", vars={"base": str(python.parents[1])})
    Path(site, "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")


def surroundings(python: Path) -> dict[str, str]:
    """The environment of someone who has entered that Python's, and has no checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GOLANG"))}
    return kept | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
