"""Chaos in the trainer alone: two gloo ranks a run, each fault at an exact step."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from golang.config import Checkpoint, Config
from golang.data.toy.write import write
from tests.resume.harness import TOTAL, Fault, judge, launch, settings

from .tally import Tally, damage, saved

RANKS = 2
ALLOWED = {0, 75, 76, 77, -signal.SIGKILL}  # finished, stopped, a peer lost, hung, killed
KINDS = {
    "TERM to a rank": (4, lambda step, rank: Fault(step, signal.SIGTERM, rank)),
    "USR2 to a rank": (3, lambda step, rank: Fault(step, signal.SIGUSR2, rank)),
    "INT to a rank": (2, lambda step, rank: Fault(step, signal.SIGINT, rank)),
    "a rank killed": (4, lambda step, rank: Fault(step, signal.SIGKILL, rank)),
    "all ranks killed": (4, lambda step, rank: Fault(step, signal.SIGKILL, None)),
    "killed in a save": (4, lambda step, rank: Fault(step, signal.SIGKILL, 0, in_save=True)),
    "hang in a step": (1, lambda step, rank: Fault(step, rank=rank, hang="step")),
    "hang in a save": (1, lambda step, rank: Fault(step, rank=0, hang="save")),
}


def runs(folder: Path, seed: int, faults: int) -> Iterator[Tally]:
    """Runs under faults until that many are spent."""
    dice = random.Random(seed)
    config = settings(folder / "toy")
    write(folder / "toy", config.data.toy, workers=1)
    undisturbed = folder / "undisturbed"
    if launch(config, undisturbed, RANKS) != [0] * RANKS:
        raise SystemExit("the run that nobody disturbs did not finish")
    spent = number = 0
    while spent < faults:
        tally = _one(config, folder / f"run{number}", undisturbed, faults - spent, dice)
        spent += sum(tally.faults.values())
        number += 1
        yield tally


def _one(config: Config, path: Path, undisturbed: Path, most: int, dice: random.Random) -> Tally:
    tally = Tally(path)
    while sum(tally.faults.values()) < most and (done := saved(path)) < TOTAL - 2 and not (path / "DONE").exists():
        name = dice.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        step = dice.randint(done + 1, min(TOTAL - 1, done + 6))
        saves = Checkpoint(60.0, every_steps=dice.choice([0, 1, 2, 3]), keep_last=2, keep_every_epochs=0)
        patience = 3.0 if name.startswith("hang") else 600.0
        fault = KINDS[name][1](step, dice.randrange(RANKS))
        statuses = launch(replace(config, checkpoint=saves, hang_seconds=patience), path, RANKS, fault)
        tally.faults[name] += 1
        if not set(statuses) <= ALLOWED:
            tally.wrong = f"{name} at step {step}: exit statuses {statuses}"
            return tally
        if dice.random() < 0.2 and sum(tally.faults.values()) < most and damage(path, dice):
            tally.faults["damaged file"] += 1
        tally.duplicated += max(0, step - saved(path))
    statuses = launch(config, path, RANKS)
    if not (path / "DONE").exists():
        tally.wrong = f"left in peace: exit statuses {statuses}"
    tally.wrong = tally.wrong or judge(path, undisturbed)
    return tally
