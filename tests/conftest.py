"""The whole suite's rules: one thread a process, and no silent skips in continuous integration."""

from __future__ import annotations

import os

# Before anything imports torch: two busy processes with two threads each run several times slower on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import logging
import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import PurePath
from typing import Any

import pytest

LOGGERS = ("", "golang")
# One process forks the ranks and the pools of all tests, and it imports what whoever comes first has asked for.
forkserver.set_forkserver_preload(["tests.warm"])
forkserver.set_forkserver_preload = lambda modules: None
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup every process of a test would ignore it, too


@pytest.fixture(autouse=True)
def _left_as_found() -> Iterator[None]:
    """What a command run in this process leaves behind would reach the tests after it: ignored signals, and a handler
    that logs to the terminal."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    heard, loggers = (
        {number: signal.getsignal(number) for number in numbers},
        [logging.getLogger(name) for name in LOGGERS],
    )
    found = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for number, handler in heard.items():
        signal.signal(number, handler)
    for logger, (handlers, level, propagate) in zip(loggers, found, strict=True):
        for handler in list(logger.handlers):
            if handler not in handlers and not type(handler).__module__.startswith("_pytest"):
                logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Of several workers (pytest-xdist), one has a whole folder, whose tests share a cluster, a server or a finished
    run; of unit tests, a file."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False

    class Folders(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = PurePath(nodeid.partition("::")[0])
            return str(file if file.parent.name == "unit" else file.parent)

    return Folders(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slurm's tests come first, and unit tests last: a worker that waits for Slurm from beginning to end leaves the
    processors to the others."""
    order = {"slurm": 0, "unit": 2}
    items.sort(key=lambda item: order.get(item.path.parent.name, 1))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and exitstatus == pytest.ExitCode.OK:
        for report in skipped:
            reporter.write_line(f"skipped in CI: {report.nodeid}: {report.longrepr}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
