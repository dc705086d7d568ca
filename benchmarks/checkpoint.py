"""What periodic checkpoints cost the training: `python -m benchmarks.checkpoint`.

One run of the trainer's own step and saver in this process, on a state of the published size (ResNet-50, queues):
windows of steps with one asynchronous save in them, and windows without, in turns. The cost of a save is the difference
of their medians; a checkpoint a minute costs that share of a minute. Prints a table, and one line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from golang.config import Config
from golang.config.checks import local_views
from golang.engine.determinism import keep_freed_memory
from golang.engine.distributed import ControlGroup
from golang.engine.saver import Saver, snapshot
from golang.method.model import build_model
from golang.method.permutations import local_permutations
from golang.runfolder.folder import RunFolder
from golang.training import checkpoint as state
from golang.training.meters import Meter, Sentinel
from golang.training.optim import build_optimizer, learning_rates
from golang.training.step import TrainStep
from golang.world import World


class Bench:
    """A training step on random crops, and saves of its state."""

    def __init__(self, config: Config, folder: Path, device: torch.device) -> None:
        self.config, self.device = config, device
        model = build_model(config).to(device)
        model.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rates = learning_rates(config.optim, 1000).tolist()
        self.step = TrainStep(config, model, build_optimizer(config.optim, model), rates)
        self.step.make_queues(1)
        self.meter, self.sentinel, self.control = Meter(config, device), Sentinel.on(device), ControlGroup(World())
        run = RunFolder.create(folder, config)
        self.saver = Saver(run.start_attempt(1, {}, None), 2)
        augment, images = config.augment, config.optim.batch_size
        self.large = torch.randn(2 * images, 3, augment.large_size, augment.large_size, device=device)
        self.small = torch.randn(augment.small_count * images, 3, augment.small_size, augment.small_size, device=device)
        self.done = 0

    def window(self, steps: int, save: bool) -> float:
        """Seconds of a window of steps; with `save`, its first step is followed by one."""
        self.saver.wait()
        begun = time.perf_counter()
        for number in range(steps):
            permutations = local_permutations("batch", local_views(self.config), 0, self.done, 0, 1)
            self.step(self.done, self.large, self.small, permutations.to(self.device))
            self.done += 1
            if save and number == 0:
                parts = state.rank_state(self.step, self.meter, self.sentinel)
                gathered = state.gather(parts, self.control, time.monotonic() + 60)
                assert gathered is not None
                self.saver.submit(self.done, snapshot(state.pack(self.step, self.done, gathered, 1)))
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoint", description=__doc__)
    parser.add_argument("--windows", type=int, default=9, help="of each kind (9)")
    parser.add_argument("--steps", type=int, default=4, help="a window; they should outlast a save (4)")
    parser.add_argument("--batch", type=int, default=2, help="images a step (2)")
    parser.add_argument("--folder", type=Path, help="where checkpoints go (a temporary folder)")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = Config.from_dict({"precision": "fp32", "optim": {"batch_size": arguments.batch}})
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=arguments.folder) as name:
        bench = Bench(config, Path(name) / "run", device)
        bench.window(2, save=True)
        pairs = [(bench.window(arguments.steps, False), bench.window(arguments.steps, True))
                 for _ in range(arguments.windows)]  # fmt: skip
        bench.saver.wait()
        size, took = max(path.stat().st_size for path in Path(name).rglob("*.pt")), bench.saver.seconds
    plain, saving = (statistics.median(column) for column in zip(*pairs, strict=True))
    cost = saving - plain
    table = Table(box=None, title=f"an asynchronous save of {size / 1e6:.0f} MB on {device}", title_justify="left")
    for column in ("", "median s"):
        table.add_column(column, justify="left" if not column else "right")
    for what, value in ((f"{arguments.steps} steps", plain), (f"{arguments.steps} steps and a save", saving),
                        ("cost of the save to the steps", cost), ("the save itself", took or 0.0)):  # fmt: skip
        table.add_row(what, f"{value:.3f}")
    table.add_row("share of a minute", f"{100 * cost / 60:.2f} %")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    print(json.dumps({"bench": "checkpoint", "ratio": round(60 / (60 + max(cost, 0.0)), 4),
                      "cost_seconds": round(cost, 3), "save_seconds": round(took or 0.0, 3),
                      "megabytes": round(size / 1e6, 1), "device": str(device)}))  # fmt: skip


if __name__ == "__main__":
    main()
