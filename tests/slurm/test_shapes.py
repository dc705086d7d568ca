"""Where a run's tasks land: GPUs in each of Slurm's notations, node lists in each of theirs, several runs on one node,
and a user who is not root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from golang.data.toy.write import write
from tests.resume.harness import settings

from .conftest import _running
from .processes import wait_for
from .runs import ROOT, Seen, Typist, flat

FEW = ("cluster.nodes=1", "cluster.tasks_per_node=null")
SHAPES = {  # by sweep: overrides, nodes, and what each task sees of its node's two GPUs
    "by_job": (["cluster.nodes=2", "cluster.nodelist=n[1,3]", "cluster.extra.gpus=2",
                "cluster.extra.ntasks-per-node=null"], ["n1", "n3"], ["0", "0"]),
    "by_task": (["cluster.nodelist=n2", "cluster.gpus_per_node=2", "cluster.gpus_per_task=1"], ["n2"] * 2, ["0", "1"]),
    "by_gres": (["cluster.nodelist=n4,n2", "cluster.nodes=2", "cluster.gres=gpu:1", "cluster.extra.ntasks=2"],
                ["n2", "n4"], ["0", "0"]),
}  # fmt: skip
TELL = """
import json, os
if "SLURM_PROCID" in os.environ:
    with open(os.path.join(os.path.dirname(__file__), "task." + os.environ["SLURM_PROCID"]), "w") as file:
        json.dump(dict(os.environ), file)
"""


@pytest.fixture(scope="module")
def typist(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typist]:
    folder = tmp_path_factory.mktemp("typed")
    config = settings(folder / "toy", data={"workers": 0}, log_every_steps=1)
    write(folder / "toy", config.data.toy, workers=1)
    with _running(request, nodes=4) as cluster:
        yield Typist(cluster, folder, flat(config.to_dict()))


@pytest.fixture(scope="module")
def shaped(typist: Typist) -> dict[str, Seen]:
    """A run of each shape, all on their way."""
    found = {}
    for sweep, (overrides, _, _) in SHAPES.items():
        (typist.folder / sweep).mkdir()
        (typist.folder / sweep / "sitecustomize.py").write_text(TELL)
        told = f"cluster.env.PYTHONPATH={typist.folder / sweep}"
        news = f'notify.command=echo "$STATE, $CAUSE" >>{typist.folder / sweep}/news'
        (found[sweep],) = typist.submit(*FEW, *overrides, told, news, "optim.epochs=1", sweep=sweep)
    return found


@pytest.mark.parametrize("sweep", SHAPES)
def test_gpus_and_node_lists(typist: Typist, shaped: dict[str, Seen], sweep: str) -> None:
    run = shaped[sweep].wait_done()
    _, nodes, gpus = SHAPES[sweep]
    told = [json.loads(file.read_text()) for file in sorted((typist.folder / sweep).glob("task.*"))]
    assert sorted(task["SLURMD_NODENAME"] for task in told) == nodes
    assert sorted(task["CUDA_VISIBLE_DEVICES"] for task in told) == gpus
    assert f"{len(nodes)} × cpu" in run.text()
    news = typist.folder / sweep / "news"
    wait_for(lambda: news.exists() and len(news.read_text().splitlines()) == 2, 20, "the news of the run and its sweep")
    assert news.read_text() == "finished, finished\ncomplete, 1 finished\n"


def test_several_runs_share_their_nodes(typist: Typist) -> None:
    shape = ("cluster.nodes=2", "cluster.nodelist=n[1-2]", "cluster.tasks_per_node=1", "optim.epochs=4")
    runs = typist.submit(*shape, "name=one,two", sweep="sharing")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda run: run.hold_at(1, tasks=2), runs))
    assert [run.record()["NodeList"] for run in runs] == ["n[1-2]"] * 2
    met = [json.loads(next(run.path.glob("attempts/meeting.*.json")).read_text()) for run in runs]
    assert met[0]["port"] != met[1]["port"]
    for run in runs:
        run.signal(signal.SIGCONT)
    for run in runs:
        run.wait_done()


@pytest.mark.skipif(os.getuid() != 0, reason="not root: every test here is this one")
def test_without_root(tmp_path: Path) -> None:
    """The whole way, from the cluster to DONE, as another user in a namespace where root's rights end."""
    config = settings(tmp_path / "toy", data={"workers": 0}, optim={"epochs": 1, "freeze_iterations": 1})
    write(tmp_path / "toy", config.data.toy, workers=1)
    code = f"""
import os, sys, tempfile
from pathlib import Path
from tests.slurm.cluster import Cluster, Config
from tests.slurm.runs import Typist
assert os.getuid() == 1
with Cluster(Config(Path(tempfile.mkdtemp(prefix="slurm-")), nodes=1, gpus=0)) as cluster:
    (run,) = Typist(cluster, Path({str(tmp_path)!r}), {flat(config.to_dict())!r}).submit(
        "cluster.nodes=1", "cluster.tasks_per_node=1", sweep="plain")
    run.wait_done()
    assert run.record()["UserId"] == "daemon(1)", run.record()
    said = cluster.run(sys.executable, "-m", "launch", "status", "plain", "--json", cwd=Path({str(tmp_path)!r}))
    print(said.stdout)
"""
    unshare = ["unshare", "--user", "--map-user=1", "--map-group=1", "--keep-caps"]
    done = subprocess.run(
        [*unshare, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [run["state"] for run in json.loads(done.stdout)] == ["finished"]
