"""Runs the trainer on gloo ranks in real processes, with faults at exact steps, and compares what they leave behind."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from golang.config import Config
from golang.engine import watchdog
from golang.errors import GolangError
from golang.runfolder.checkpoints import lineage
from golang.runfolder.folder import RunFolder
from golang.runfolder.metrics import TIMINGS, read_metrics
from golang.weights.sealed import encode, read
from golang.world import World, free_port

SETTINGS = {
    "sweep": "test",
    "seed": 5,
    "precision": "fp32",
    "device": "cpu",
    "log_every_steps": 3,
    "data": {"name": "toy", "workers": 1, "toy": {"classes": 5, "size": 32, "train": 44, "val": 4, "seed": 1}},
    "method": {"name": "golang"},
    "queue": {"length": 16, "local_length": 64, "start_epoch": 1},
    "model": {
        "trunk": "small",
        "hidden_dim": 32,
        "feature_dim": 16,
        "group_heads": 4,
        "prototypes": 12,
        "local_prototypes": 14,
    },
    "optim": {
        "epochs": 4,
        "batch_size": 8,
        "base_lr": 0.5,
        "final_lr": 0.01,
        "freeze_iterations": 12,
        "weight_decay": 1e-4,
    },
    "augment": {"large_size": 32, "small_count": 2, "small_size": 16, "small_scale": [0.1, 0.3]},
    "checkpoint": {"every_minutes": 60.0, "every_steps": 0, "keep_last": 2, "keep_every_epochs": 0},
}
STEPS_PER_EPOCH = 5
TOTAL = 20  # steps; the queues start at step 5 and are full at 7; the prototypes thaw at 12


@dataclass(frozen=True)
class Fault:
    """At the end of step `step` (counted from 1), `rank` (None: every rank) gets `signal`.

    With `in_save`, the signal comes while a checkpoint of that step or a later one is half-written. With `hang`, no
    signal comes: the rank waits for ever in step `step` + 1, for an image of that step's epoch, or in the save of that
    step or a later one.
    """

    step: int
    signal: int = signal.SIGTERM
    rank: int | None = 0
    in_save: bool = False
    hang: Literal["", "step", "data", "save"] = ""


def settings(data_root: Path, **changes: object) -> Config:
    """The test configuration with sections merged from `changes`."""
    values = json.loads(json.dumps(SETTINGS))
    values["data"]["root"] = str(data_root)
    for key, change in changes.items():
        values[key] = {**values.get(key, {}), **change} if isinstance(change, dict) else change
    return Config.from_dict(values)


def launch(
    config: Config,
    run_dir: Path,
    ranks: int,
    fault: Fault | None = None,
    timeout: float = 300,
    prepare: Callable[[], None] | None = None,
) -> list[int]:
    """Trains, or evaluates, on `ranks` processes until they leave; their exit statuses. Each begins with `prepare`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["golang", "golang.processes.worker", "golang.data.toy.write", "golang.evaluation.job"]
    )
    port = free_port()
    processes = [
        context.Process(target=_rank, args=(config.to_dict(), str(run_dir), rank, ranks, port, fault, prepare))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(timeout)
            assert process.exitcode is not None, f"rank did not leave within {timeout} s"
    finally:
        for process in processes:
            with contextlib.suppress(ValueError):
                process.kill()
    return [process.exitcode for process in processes]


def here(config: Config, run_dir: Path) -> int:
    """Trains, or evaluates, in this process alone; the exit status, as the command has it."""
    from golang.processes.local import train_here

    try:
        return train_here(config, run_dir, processes=1)
    except GolangError as error:
        return error.exit_status


def _rank(
    values: dict,
    run_dir: str,
    rank: int,
    ranks: int,
    port: int,
    fault: Fault | None,
    prepare: Callable[[], None] | None,
) -> None:
    own = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in own.items()} | {"OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    from golang.engine.doorway import prepare as enter
    from golang.processes.worker import work

    if prepare is not None:
        prepare()
    if fault is not None and fault.hang:
        watchdog.LINGER = 1.0
    if fault is not None and fault.rank in (None, rank):
        _arm(fault)
    world = World.read()
    raise SystemExit(work(enter(Config.from_dict(values), world), Path(run_dir), world))


def _arm(fault: Fault) -> None:
    from golang.data.crops.multicrop import MultiCrop
    from golang.training.trainer import Trainer
    from golang.weights import sealed

    train_on, write, item = Trainer._train_on, sealed.write, MultiCrop.__getitem__

    def faulty_step(self: Trainer, *batch: torch.Tensor) -> None:
        train_on(self, *batch)
        if self.session.done + 1 == fault.step:
            self.session.saver.wait()  # what was saved before counts as saved, however slow the disk
            os.kill(os.getpid(), fault.signal)

    def faulty_write(path: Path, content: dict) -> None:
        if int(path.name[5:13]) >= fault.step:
            data = encoded(content)
            path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), fault.signal)
        write(path, content)

    def endless_step(self: Trainer, *batch: torch.Tensor) -> None:
        if self.session.done == fault.step:
            time.sleep(1000)
        train_on(self, *batch)

    def endless_item(self: MultiCrop, position: tuple[int, int]) -> object:
        if position[0] == fault.step // STEPS_PER_EPOCH:
            time.sleep(1000)
        return item(self, position)

    def endless_write(path: Path, content: dict) -> None:
        if int(path.name[5:13]) >= fault.step:
            time.sleep(1000)
        write(path, content)

    if fault.hang == "step":
        Trainer._train_on = endless_step
    elif fault.hang == "data":
        MultiCrop.__getitem__ = endless_item
    elif fault.hang == "save":
        sealed.write = endless_write
    elif fault.in_save:
        sealed.write = faulty_write
    else:
        Trainer._train_on = faulty_step


def encoded(content: dict) -> bytes:
    """A checkpoint file's bytes."""
    buffer = io.BytesIO()
    encode(content, buffer)
    return buffer.getvalue()


def final_state(run_dir: Path) -> dict:
    """The state in the newest checkpoint of a run."""
    return read(lineage(RunFolder(run_dir))[0].path)


def metrics(run_dir: Path) -> list[dict]:
    """The metrics lines without what depends on time."""
    lines = read_metrics(run_dir / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in TIMINGS} for line in lines]


def differences(a: object, b: object, path: str = "", tolerance: float = 0.0) -> list[str]:
    """Where two states differ: bit for bit, or beyond `tolerance`."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return [f"{path}: {a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}"]
        if torch.equal(a, b) or (tolerance and (a.double() - b.double()).abs().max() <= tolerance):
            return []
        return [f"{path}: off by {(a.double() - b.double()).abs().max():.3g}"]
    if isinstance(a, dict) and isinstance(b, dict):
        found = [f"{path}.{key}: in one only" for key in a.keys() ^ b.keys()]
        return found + [
            d for key in a.keys() & b.keys() for d in differences(a[key], b[key], f"{path}.{key}", tolerance)
        ]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [
            d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}[{i}]", tolerance)
        ]
    if isinstance(a, float) and isinstance(b, float) and abs(a - b) <= tolerance:
        return []
    return [] if a == b else [f"{path}: {a!r} and {b!r}"]


def judge(run_dir: Path, undisturbed: Path) -> str:
    """What tells a run's end from the undisturbed one's, but for settings that are no part of what it is; "" if
    nothing does."""
    if not (run_dir / "DONE").exists():
        return "not finished"
    state, golden = final_state(run_dir), final_state(undisturbed)
    for each in (state, golden):
        each["fingerprint"].pop("run")
        for key in ("sweep", "name", "checkpoint", "hang_seconds"):
            each["config"].pop(key)
    if wrong := differences(state, golden):
        return f"not bit-identical: {wrong[0]}"
    return "" if metrics(run_dir) == metrics(undisturbed) else "the metrics differ"
