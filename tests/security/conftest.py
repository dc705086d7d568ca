"""Commands leave a trace, and none may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test may leave a file of that name anywhere below its folder, which is where commands would run."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("canary"))
