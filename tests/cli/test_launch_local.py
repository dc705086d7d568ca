"""`cluster=local`: a grid on this machine, in the folders and by the code path that Slurm's runs have."""

from __future__ import annotations

import re
import time
from pathlib import Path

from golang.config import Toy
from golang.data.toy.write import write
from launch.sweep import ledger
from launch.sweep.find import runs_in
from launch.sweep.here import controller
from tests.cli.command import command, run

TELL = 'notify.command=echo "$STATE, $CAUSE" >>{}/news'


def news(folder: Path, number: int) -> list[str]:
    """What notify.command has told, once it has told that much."""
    deadline = time.monotonic() + 60
    while not (folder / "news").exists() or len((folder / "news").read_text().splitlines()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return (folder / "news").read_text().splitlines()


def test_a_grid_here(tmp_path: Path) -> None:
    root = write(tmp_path / "data", Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)
    typed = command(
        root, "cluster=local", "cluster.tasks_per_node=2", "cluster.env={OMP_NUM_THREADS: 1}", "optim.epochs=2,3",
        "optim.warmup_epochs=0", "sweep=here", TELL.format(tmp_path),
    )  # fmt: skip
    sweep = tmp_path / "runs/here"
    code, output = run(tmp_path, typed)
    assert code == 0 and "2 submitted" in output, output
    code, output = run(tmp_path, typed)
    assert code == 0 and "2 running" in output, output
    deadline = time.monotonic() + 240
    while len(list(sweep.glob("*/DONE"))) < 2:
        logs = "".join(file.read_text() for file in sweep.glob("submissions/*/*/*_log.*"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.2)
    code, output = run(tmp_path, typed)
    assert code == 0 and "2 finished" in output, output
    lines = ledger.read(sweep)
    events = [line["event"] for line in lines]
    assert sorted(events) == ["attempt"] * 2 + ["finished"] * 2 + ["intent"] * 2 + ["submitted"] * 2
    assert all(re.fullmatch(r"local:\d+", line["job"]) for line in lines if line["event"] == "submitted")
    begins = [events.index("attempt"), events.index("finished"), len(events) - 1 - events[::-1].index("attempt")]
    assert begins == sorted(begins), "one run at a time"
    assert news(tmp_path, 3) == ["finished, finished"] * 2 + ["complete, 2 finished"]


def test_a_cancelled_grid_does_not_take_its_next_turn(tmp_path: Path) -> None:
    root = write(tmp_path / "data", Toy(classes=5, size=32, train=44, val=4, seed=1), workers=1)
    typed = command(
        root, "cluster=local", "cluster.env={OMP_NUM_THREADS: 1}", "optim.epochs=200,300", "optim.warmup_epochs=0",
        "sweep=here", TELL.format(tmp_path),
    )  # fmt: skip
    code, output = run(tmp_path, typed)
    assert code == 0 and "2 submitted" in output, output
    sweep = tmp_path / "runs/here"
    runs = runs_in(sweep)
    controllers = [controller(one) for one in runs]
    assert None not in controllers and len(set(controllers)) == 2
    deadline = time.monotonic() + 120
    while not list(sweep.glob("*/metrics.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    code, output = run(tmp_path, ["-m", "launch", "cancel", "here", "--yes"])
    assert code == 0 and "cancelled 2" in output, output
    while any(controller(one) is not None for one in runs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    events = [line["event"] for line in ledger.read(sweep)]
    assert events.count("attempt") == 1 and events.count("cancelled") == 2
    assert news(tmp_path, 3) == ["cancelled, cancelled"] * 2 + ["complete, 2 cancelled"]
