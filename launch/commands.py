"""`golang COMMAND …`: everything there is, by one name, once the project is installed."""

from __future__ import annotations

import importlib
import os
import re
import sys

from golang import __version__
from golang.config import nearest
from golang.errors import ConfigError
from launch.errors import without
from launch.text import plain

TRAIN = "train"
COMMANDS = {  # the module whose `main` it is, and what it does
    TRAIN: ("launch.planning.app", "train here, or on a cluster: experiment=coco2014 optim.epochs=100 cluster=slurm"),
    "launch": ("launch.__main__", "look after runs: status, watch, logs, cancel, resume, report, compare, export …"),
    "evaluate": ("golang.evaluation.__main__", "what features are worth: a run's probe and pictures, or a protocol"),
    "show": ("golang.evaluation.pictures.__main__", "pictures: attention, detections, segments; classes of two runs"),
    "data": ("golang.data.__main__", "check a set of images"),
    "convert": ("golang.weights.__main__", "a checkpoint in another layout"),
    "memory": ("golang.memory.__main__", "what a training needs of a GPU, asked without one"),
}


def main() -> int:
    """The command that was typed; its exit status. Only what it needs is imported."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        listed = "\n".join(f"  {command:10}{what}" for command, (_, what) in COMMANDS.items())
        print(f"usage: golang COMMAND …\n\n{listed}\n\n`golang COMMAND --help` says more; --version, which this is")
        return 0
    if name == "--version":
        print(f"golang {__version__}")
        return 0
    if name == "-sc":  # a shell, at Tab
        if (line := _settings_of(os.environ.get("COMP_LINE", ""))) is None:
            print(*COMMANDS)
            return 0
        os.environ["COMP_LINE"] = line
        name, words = TRAIN, [name, *words]
    if name not in COMMANDS:
        right = nearest(name, list(COMMANDS)) or f"; choose one of {', '.join(COMMANDS)}"
        if "=" in name:
            right = f"; a setting goes behind one: golang {TRAIN} {name}"
        print(plain(f"golang {name}: there is no such command{right}"), file=sys.stderr)
        return ConfigError.exit_status
    try:
        run = importlib.import_module(COMMANDS[name][0]).main
        return int(run([sys.argv[0], TRAIN, *words], 2) if name == TRAIN else run(words))
    except ModuleNotFoundError as error:
        print(without(error), file=sys.stderr)
        return 1


def _settings_of(line: str) -> str | None:
    """A line typed so far, with the settings right behind the program, as Hydra wants it; None if it is no training."""
    typed = re.fullmatch(rf"(\s*\S+\s+){TRAIN}\s+(.*)", line)
    return typed[1] + typed[2] if typed else None
