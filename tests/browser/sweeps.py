"""Sweeps as runs leave them, made without training: a grid with preemptions, of any size."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from golang.config import Config
from golang.config.identity import folder_name, run_id
from golang.runfolder.files import yaml_text
from golang.runfolder.folder import RunFolder
from launch.sweep.paths import Sweep

START = 1.79e9
CLASSES = [
    "bicycle", "bird", "boat", "book", "bottle", "bowl", "car", "cat", "chair", "clock", "cup", "dog", "horse", "kite",
    "person", "pizza", "sheep", "table", "train", "umbrella",
]  # fmt: skip
VERSIONS = {"golang": "0.9.0", "python": "3.11.9", "torch": "2.11.0", "numpy": "2.1.0", "device": "NVIDIA A100-SXM4"}


@dataclass(frozen=True)
class Shape:
    """How large a sweep is."""

    rates: tuple[float, ...] = (0.3, 0.6, 1.2)
    prototypes: tuple[int, ...] = (300, 3000)
    seeds: int = 3
    lines: int = 200
    pictures: int = 2  # runs that have some
    classes: tuple[str, ...] = tuple(CLASSES)


def stamp(second: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(START + second))


def make(sweep: Path, shape: Shape = Shape()) -> Path:
    """A grid of learning rates, prototypes and seeds, stopped by preemptions, a lost node and a bug here and there."""
    sweep.mkdir(parents=True)
    words = f"optim.base_lr={','.join(map(str, shape.rates))} model.prototypes={','.join(map(str, shape.prototypes))}"
    command = ["golang", "train", *words.split(), f"seed=range(1,{shape.seeds + 1})", "cluster=slurm",
               "notify.command=curl https://hooks.example/secret"]  # fmt: skip
    Sweep(sweep).description.write_text(yaml_text({"command": command, "cwd": "/home/ada/work", "typed": stamp(0)}))
    grid = itertools.product(shape.rates, shape.prototypes, range(1, shape.seeds + 1))
    for number, (rate, prototypes, seed) in enumerate(grid):
        add_run(sweep, number, rate, prototypes, seed, shape)
    return sweep


def add_run(sweep: Path, number: int, rate: float, prototypes: int, seed: int, shape: Shape) -> RunFolder:
    """One run of the grid: what it wrote, attempt by attempt."""
    typed = {"optim.base_lr": rate, "model.prototypes": prototypes, "seed": seed}
    config = Config.from_dict({"optim": {"base_lr": rate}, "model": {"prototypes": prototypes}, "seed": seed})
    name = folder_name([f"base_lr={rate}", f"prototypes={prototypes}", f"seed={seed}"])
    run = RunFolder(sweep / f"{name}-{run_id(config)}")
    for folder in (run.path, run.attempts, run.checkpoints):
        folder.mkdir()
    run.config_file.write_text(yaml_text(config.to_dict()))
    overrides = [f"{key}={value}" for key, value in typed.items()]
    run.overrides_file.write_text(yaml_text({"overrides": overrides, "code": "3f9c2a71", "frozen": stamp(0)}))
    chance = random.Random(number)
    causes = {0: [], 1: ["preempted"], 2: ["preempted", "node lost"], 3: ["time limit"]}[number % 4]
    last = "bug" if number % 17 == 9 else "running" if number % 17 == 13 else "finished"
    with Sweep(sweep).ledger.open("a") as file:
        facts = {"run": run_id(config), "folder": run.path.name, "job": f"7_{number}", "submission": "s"}
        file.write(json.dumps({"time": stamp(0), "event": "submitted", **facts}) + "\n")
    ends, total, clock, done = [*causes, last], shape.lines * 10, 0.0, 0
    lines: list[dict[str, Any]] = []
    for place, cause in enumerate(ends):
        clock += chance.expovariate(1 / 2400)
        goal = total if cause == "finished" else done + int((total - done) * chance.uniform(0.3, 0.7)) // 10 * 10
        began, pace = clock, 1.1 + 0.2 * chance.random()
        clock += 90 + (goal - done) * pace
        _attempt(run, place, began, clock, done, goal, total, cause)
        lines = [line for line in lines if line["step"] <= done]
        lines += _metrics(rate, prototypes, seed, done, goal, total, place, began + 60, pace)
        done = goal - (chance.randrange(0, 8) * 10 if cause == "node lost" else 0)
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if last == "finished":
        run.done_file.touch()
        _evaluated(run, rate, prototypes, seed, shape.classes)
        if number < shape.pictures:
            _pictures(run, number)
    return run


def _attempt(
    run: RunFolder, number: int, began: float, ended: float, resumed: int, reached: int, total: int, cause: str
) -> None:
    folder = run.attempts / f"{number:02d}"
    folder.mkdir()
    start = {"attempt": number, "host": f"gpu{number + 3:02d}", "world_size": 4, "started": stamp(began)}
    start |= {"versions": VERSIONS, "resumed_from": f"step_{resumed:08d}.a00.pt" if resumed else None}
    (folder / "start.json").write_text(json.dumps(start))
    (folder / "status.json").write_text(json.dumps({"step": reached, "total": total, "updated": stamp(ended)}))
    if cause not in ("running", "lost"):
        said = (
            {"message": "ValueError: the queue holds 3,840 embeddings, and a step brings 4,096"}
            if cause == "bug"
            else {}
        )
        (folder / "cause.json").write_text(json.dumps({"cause": cause, "step": reached, "at": stamp(ended), **said}))
    for rank in range(4):
        (folder / f"rank{rank}.log").write_text(f"attempt {number} rank {rank}\n" * 20)


def _metrics(
    rate: float, prototypes: int, seed: int, done: int, goal: int, total: int, attempt: int, clock: float, pace: float
) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed * 1000 + done)
    floor = 1.9 + 0.25 * abs(math.log2(rate / 0.6)) + 0.1 * (prototypes < 1000) + 0.03 * seed
    for step in range(done + 10, goal + 1, 10):
        loss = floor + 4.5 * math.exp(-6 * step / total) + chance.gauss(0, 0.05)
        yield {
            "step": step, "epoch": step // 100, "loss": loss, "loss_global": loss * 1.1 + chance.gauss(0, 0.05),
            "loss_local": loss * 0.9 + chance.gauss(0, 0.05), "loss_cross_view": loss + chance.gauss(0, 0.05),
            "ln_k": math.log(prototypes), "ln_k_local": math.log(prototypes), "gradient_norm": 1 + chance.random(),
            "parameter_norm": 80 + 30 * step / total + chance.random(),
            "lr": rate * (1 + math.cos(math.pi * step / total)) / 2,
            "prototype_perplexity": prototypes * (1 - math.exp(-4 * step / total)) * (0.9 + 0.05 * chance.random()),
            "dead_prototypes": int(prototypes * math.exp(-5 * step / total)),
            "local_prototype_perplexity": prototypes * (1 - math.exp(-3 * step / total)) * (0.8 + chance.random() / 9),
            "dead_local_prototypes": int(prototypes * math.exp(-4 * step / total)),
            "attention_entropy": 0.5 + 0.5 * math.exp(-3 * step / total) + chance.gauss(0, 0.01),
            "queue_fill": min(1.0, step / 500), "samples": step * 128, "skipped_steps": 0, "unreadable_images": 0,
            "attempt": attempt, "time": stamp(clock + (step - done) * pace),
            "images_per_second": 128 / pace + chance.gauss(0, 2), "step_seconds": pace,
            "data_wait_seconds": 0.02 * chance.random(),
        }  # fmt: skip


def _evaluated(run: RunFolder, rate: float, prototypes: int, seed: int, classes: tuple[str, ...]) -> None:
    chance = random.Random(f"{rate} {prototypes}{seed}")
    base = 62 - 5 * abs(math.log2(rate / 0.6)) + 3 * (prototypes > 1000) + chance.gauss(0, 0.8)
    points = {
        name: min(99.0, max(1.0, base + 11 * math.sin(3 * place) + chance.gauss(0, 2)))
        for place, name in enumerate(classes)
    }
    run.evaluation.mkdir()
    facts = {"mAP": sum(points.values()) / len(points), "per_class": points}
    run.probe_file.write_text(json.dumps(facts))
    folder = run.evaluation / "knn"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"mAP": facts["mAP"] - 4, "per_class": points}))


def _pictures(run: RunFolder, number: int) -> None:
    """What stands for attention and detections: discs."""
    for path, size in ((run.attention_file, (640, 360)), (run.evaluation / "knn" / "detections-best.png", (1600, 900))):
        picture = Image.new("RGB", size, (24, 30, 44))
        pen = ImageDraw.Draw(picture)
        for disc in range(9):
            x, y = size[0] * (disc % 3 + 0.5) / 3, size[1] * (disc // 3 + 0.5) / 3
            pen.ellipse((x - 60, y - 40, x + 60, y + 40), fill=(40 + 20 * disc, 120, 220 - 20 * disc - 10 * number))
        picture.save(path)
