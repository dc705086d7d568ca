"""One browser for all of these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.report.page import write
from tests.browser.chromium import Tab, browser
from tests.browser.sweeps import make

Opening = Callable[..., Tab]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def opening(chromium: Any) -> Iterator[Opening]:
    """Opens an HTML file in a tab of its own; at the end nothing may have gone wrong in any."""
    tabs: list[Tab] = []

    def open_file(file: Path, **options: Any) -> Tab:
        tabs.append(Tab(chromium, **options))
        tabs[-1].open(file)
        return tabs[-1]

    yield open_file
    for tab in tabs:
        tab.close()
    assert [trouble for tab in tabs for trouble in tab.trouble] == []


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 18 runs with its report."""
    sweep = make(tmp_path_factory.mktemp("browser") / "grid")
    write(sweep)
    return sweep


@pytest.fixture(scope="session")
def page_file(grid: Path) -> Path:
    return grid / "report/index.html"
