"""Where there is neither a GPU nor what the null driver needs, the tests here say what to install."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda.null import build
from tests.cuda.trace import has_gpu

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if _HERE in item.path.parents]
    if here and (why := build.missing()) and not has_gpu():
        for item in here:
            item.add_marker(pytest.mark.skip(reason=f"tests/cuda {why}"))
