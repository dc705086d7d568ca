"""The code of before its modules lay where they do now, as queued jobs and frozen runs still have it. The archive is
`git archive --format=zip -9 7b54360 golang launch configs hydra_plugins run.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ARCHIVE = Path(__file__).with_name("before.zip")


def unpack(folder: Path) -> Path:
    """A checkout of that code."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


def python(checkout: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python that imports that code."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def changed(values: dict, defaults: dict) -> dict:
    """What differs from the defaults: the code of before refuses settings that came later."""
    return {
        key: changed(value, defaults[key]) if isinstance(value, dict) else value
        for key, value in values.items()
        if value != defaults[key]
    }
