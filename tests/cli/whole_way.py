"""The whole way of one's own images, in an empty folder: `python -m tests.cli.whole_way [--images N]`.

Draws N labelled images (300), then looks at them, trains two epochs, evaluates, converts and reports, each by the
command that a newcomer types. Prints the seconds of each; exits with 1 if one fails.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from golang.config import Toy
from golang.data.toy.write import write
from golang.sources import environment

RECIPE = ("model=resnet18", "optim.epochs=2", "augment.large_size=96", "augment.small_size=48", "data.workers=1")
COMMANDS = (
    ("data", "check", "labels.csv", "--set", "list"),
    ("train", "data=list", "data.root=labels.csv", "device=cpu", "sweep=mine", "evaluation=probe", *RECIPE),
    ("train", "checkpoint=runs/mine", "evaluation=linear", "data=list", "data.root=labels.csv", "device=cpu",
     "data.workers=1", "evaluation.epochs=3"),
    ("convert", "runs/mine", "mine-timm", "--to", "timm", "--allow"),
    ("launch", "report", "mine"),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A command, its exit status, what it said, and its seconds."""

    command: tuple[str, ...]
    status: int
    output: str
    seconds: float


def draw(folder: Path, images: int) -> None:
    """A folder of photos, and a list of what is in them: a fifth of it to evaluate on."""
    val = images // 5
    write(folder / "photos", Toy(classes=8, size=160, train=images - val, val=val, seed=3), workers=1)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "labels", "split"])
        for split in ("train", "val"):
            found = json.loads((folder / f"photos/annotations/instances_{split}2017.json").read_text())
            names = {one["id"]: one["name"] for one in found["categories"]}
            labels: dict[int, set[str]] = {one["id"]: set() for one in found["images"]}
            for one in found["annotations"]:
                labels[one["image_id"]].add(names[one["category_id"]])
            for one in found["images"]:
                there = ";".join(sorted(labels[one["id"]]))
                rows.writerow([f"photos/{split}2017/{one['file_name']}", there, split])


def walk(folder: Path) -> Iterator[Step]:
    """Types each command in `folder`, until one fails."""
    for command in COMMANDS:
        began = time.monotonic()
        typed = [
            sys.executable,
            "-c",
            "import sys; from launch.commands import main; sys.exit(main())",
            *_named(folder, command),
        ]
        done = subprocess.run(typed, cwd=folder, env=environment(), text=True, capture_output=True, check=False)
        yield Step(command, done.returncode, done.stdout + done.stderr, time.monotonic() - began)
        if done.returncode:
            return


def _named(folder: Path, command: tuple[str, ...]) -> list[str]:
    """The run that was trained has the name of its settings, which a person completes by Tab."""
    run = next((folder / "runs/mine").glob("*"), None)
    return [word.replace("runs/mine", str(run.relative_to(folder))) if run else word for word in command]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cli.whole_way", description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as name:
        draw(Path(name), images)
        steps = list(walk(Path(name)))
        for step in steps:
            print(f"{step.seconds:6.1f} s  golang {' '.join(step.command)}")
        print(f"{sum(step.seconds for step in steps):6.1f} s  in all, of {images} images")
        if steps[-1].status or len(steps) < len(COMMANDS):
            print(steps[-1].output)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
