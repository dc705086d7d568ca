"""`train`, as a library has it: from settings and a folder to a finished run, on every rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from golang.config import Config
from golang.engine.doorway import prepare
from golang.engine.listeners import Listener
from golang.engine.rank import join
from golang.engine.session import Outcome
from golang.runfolder.folder import Attempt
from golang.tracking.mirror import Mirror
from golang.training import trainer
from golang.world import World


def train(
    config: Config, run_dir: Path | str, show_progress: bool = True, listeners: Sequence[Listener] = ()
) -> Outcome:
    """Trains the run in `run_dir` until it is finished or asked to stop; an existing run is continued.

    Alone, under torchrun or under Slurm: every rank calls it with the same arguments. Raises a GolangError for
    anything a person has to mend; what is on disk is never lost by it.
    """
    world = World.read()
    config = prepare(config, world, Path(run_dir))
    with Mirror() as mirror, join(config, world) as rank:
        told = (*listeners, *own_listeners(config, Path(run_dir), mirror))
        return trainer.train(config, Path(run_dir), rank, told, show_progress)


def own_listeners(config: Config, run_dir: Path, mirror: Mirror) -> list[Listener]:
    """Whom every training tells: W&B's mirror, and the periodic probe where the settings ask for one."""
    found: list[Listener] = [_Mirrored(mirror)]
    if config.evaluation.probe_every_epochs:
        from golang.evaluation.probe.during import PeriodicProbe  # scikit-learn, which only measuring needs

        found.append(PeriodicProbe(config, run_dir))
    return found


class _Mirrored(Listener):
    """Tells W&B's mirror, which is left open after the last step for what the caller still has to say there."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror

    def begun(self, config: Config, attempt: Attempt) -> None:
        self.mirror.start(config, attempt)

    def stopping(self) -> None:
        self.mirror.say("preempting")

    def left(self, cause: str) -> None:
        self.mirror.close("preempting")
