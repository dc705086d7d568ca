"""The whole suite's rules: one thread a process, and no silent skips in continuous integration."""

from __future__ import annotations

import os

# Before anything imports torch: two busy processes with two threads each run several times slower on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and exitstatus == pytest.ExitCode.OK:
        for report in skipped:
            reporter.write_line(f"skipped in CI: {report.nodeid}: {report.longrepr}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
