"""What random faults did to a run, and whether its end shows any of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from golang.runfolder.checkpoints import entries
from golang.runfolder.folder import RunFolder


@dataclass
class Tally:
    """One run under faults."""

    path: Path
    faults: Counter[str] = field(default_factory=Counter)
    duplicated: int = 0  # steps done more than once
    in_place: int = 0  # attempts that began on the nodes of the one before
    wrong: str = ""  # what distinguishes its end from the undisturbed run's


def saved(run_dir: Path) -> int:
    """The step of the newest checkpoint file; 0 if there is none."""
    return max((entry.step for entry in entries(RunFolder(run_dir))), default=0)


def damage(run_dir: Path, dice: random.Random) -> bool:
    """Flips a bit in the newest of several checkpoint files, or cuts it short; whether there was one to spare."""
    files = sorted(entries(RunFolder(run_dir)), key=lambda entry: (entry.attempt, entry.step))
    if len(files) < 2:
        return False
    data = bytearray(files[-1].path.read_bytes())
    if dice.random() < 0.5:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    else:
        del data[dice.randrange(len(data)) :]
    files[-1].path.write_bytes(data)
    return True
