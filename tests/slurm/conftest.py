"""Clusters for tests. Each ends with its fixture, or with pytest however that dies (see `Cluster.__enter__`)."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from golang.data.toy.write import write
from tests.resume.harness import settings

from .cluster import Cluster, ClusterError, Config, how_to_install, missing_packages
from .processes import require_namespaces
from .runs import Typist, flat

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a real Slurm."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@contextmanager
def _running(request: pytest.FixtureRequest, **options: Any) -> Iterator[Cluster]:
    """A cluster with these fields of `Config`. Skips the test, saying what to do, where no cluster can run."""
    if missing := missing_packages(options.get("accounting", False)):
        pytest.skip(how_to_install(missing))
    # Not below pytest's own folders: the paths of sockets are short.
    cluster = Cluster(Config(Path(tempfile.mkdtemp(prefix="slurm-")), **options))
    try:
        require_namespaces(cluster.environment())
    except ClusterError as error:
        cluster.down()
        pytest.skip(str(error))
    failed, temporary = request.session.testsfailed, request.getfixturevalue("tmp_path_factory")
    with cluster:
        yield cluster
        if request.session.testsfailed > failed and cluster.log.is_dir():
            kept = temporary.mktemp("slurm-log")
            shutil.copytree(cluster.log, kept, dirs_exist_ok=True)
            warnings.warn(f"the daemons' logs are kept in {kept}", stacklevel=1)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three nodes, no accounting, 10 s of grace. Shared: a test that leaves jobs or dead nodes calls `reset()`."""
    with _running(request) as cluster:
        yield cluster


def typing(cluster: Cluster, folder: Path) -> Iterator[Typist]:
    """Somebody at a cluster, with a small set of images; the cluster is put in order afterwards."""
    config = settings(folder / "data" / "toy", data={"workers": 0})
    write(folder / "data" / "toy", config.data.toy, workers=1)
    yield Typist(cluster, folder, flat(config.to_dict()))
    cluster.reset()


@pytest.fixture
def typist(cluster: Cluster, tmp_path: Path) -> Iterator[Typist]:
    yield from typing(cluster, tmp_path)


@pytest.fixture(scope="session")
def accounting_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """As `cluster`, with slurmdbd and MariaDB, so that sacct works."""
    with _running(request, accounting=True) as cluster:
        yield cluster


@pytest.fixture
def make_cluster(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cluster]]:
    """`make_cluster(nodes=1, grace=0, …)`: a cluster of one's own until the end of the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(_running(request, **options))
