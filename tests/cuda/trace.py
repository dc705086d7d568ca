"""One training step on CUDA, counted: `traced(cases)` runs each case's step on the null driver, in a process of its own
for all of them, and gives what it launched, waited for, and kept in memory.

A rank of several is one process, whose peers the null driver's NCCL answers for.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from golang.sources import ROOT
from tests.cuda.null import build

WARM = 12  # steps before the count: DDP looks at its first ten


@dataclass(frozen=True)
class Case:
    """A step of the published recipe, its queues in use and its prototypes learning, but for what is said."""

    method: Literal["golang", "swav"] = "golang"
    precision: str = "fp16"
    ranks: int = 1
    images: int = 64  # a rank
    frozen: bool = False
    queue: bool = True
    pipeline: str = "pil"
    deterministic: bool = False
    trunk: str = "resnet50"
    more: dict[str, Any] = field(default_factory=dict, hash=False)  # further settings, as they are typed
    timed: bool = False  # also the host's time, and what the GPUs of benchmarks.roofline need at least

    @property
    def name(self) -> str:
        plain = Case()
        rest = [
            f"{one} {getattr(self, one)}"
            for one in ("frozen", "queue", "pipeline", "deterministic", "trunk")
            if getattr(self, one) != getattr(plain, one)
        ]
        rest += [f"{key}={value}" for key, value in self.more.items()]
        return ", ".join([f"{self.method} {self.precision} b={self.images} × {self.ranks}", *rest])


def traced(cases: Sequence[Case], code: Path | None = None) -> Iterator[dict[str, Any]]:
    """What each case's step did, in turn; by the package golang in the folder `code`, if that is given. Raises
    RuntimeError with the step's own words where it failed."""
    path = [str(ROOT), *sys.path] if code is None else [str(code), str(ROOT), *sys.path]
    environment = (os.environ if has_gpu() else build.environment()) | {"PYTHONPATH": os.pathsep.join(path)}
    environment |= {"PYTHONSAFEPATH": "1"}  # or `-m` would put the folder that it is typed in first
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cuda.trace"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps([dataclasses.asdict(case) for case in cases]))
        child.stdin.close()
        for case in cases:
            line = child.stdout.readline()
            found = json.loads(line) if line else {"failed": f"exit status {child.wait()}"}
            if "failed" in found:
                child.kill()
                raise RuntimeError(f"{case.name}: {found['failed']}")
            yield found


@functools.cache
def has_gpu() -> bool:
    """Whether a real one is here, asked in a process of its own, which may keep a context on it."""
    code = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------ in the child


def settings(case: Case) -> Any:
    """The Config of a case."""
    from golang.config import Config

    whole = case.images * case.ranks
    sections: dict[str, Any] = {
        "precision": case.precision,
        "deterministic": case.deterministic,
        "data": {"pipeline": case.pipeline},
        "method": {"name": case.method},
        "model": {"trunk": case.trunk},
        # The published 3840 rows are 30 batches.
        "queue": {"length": 30 * whole, "start_epoch": 0 if case.queue else 10**6},
        "optim": {"batch_size": whole, "freeze_iterations": 10**9 if case.frozen else 0},
    }
    for key, value in case.more.items():
        section, _, name = key.rpartition(".")
        (sections.setdefault(section, {}) if section else sections)[name] = value
    return Config.from_dict(sections)


def _trace(case: Case) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    from golang.engine import determinism
    from golang.engine.distributed import leave
    from golang.world import World
    from tests.cuda.counts import NullDriver, counter

    config, device = settings(case), torch.device("cuda", 0)
    world = World(0, case.ranks, 0, min(case.ranks, 8))
    determinism.set_up(config, device, world)
    if case.ranks > 1 and isinstance(counter(), NullDriver):
        dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=case.ranks, device_id=device)
    elif case.ranks > 1:  # one GPU has no peers
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=case.ranks)
    try:
        return _measured(case, _Step(config, world, device, graphs="cuda_graphs" in case.more))
    finally:
        leave()
        gc.collect()  # what the next case has in memory is its own
        torch.cuda.empty_cache()


class _Step:
    """A trainer's step on one batch, with nothing around it."""

    def __init__(self, config: Any, world: Any, device: Any, graphs: bool) -> None:
        import torch

        from golang.data.crops.device import COLUMNS
        from golang.data.crops.multicrop import Crops
        from golang.data.crops.transfer import Transfer
        from golang.engine.distributed import data_parallel
        from golang.method.model import build_model
        from golang.training.meters import Meter, Sentinel
        from golang.training.optim import build_optimizer
        from golang.training.step import TrainStep
        from golang.training.trainer import Trainer

        class Bare(Trainer):
            def __init__(self) -> None:
                self.session = _Session()  # type: ignore[assignment]
                self.config, self.world, self.device, self.dtype = config, world, device, torch.float32
                self.steps_per_epoch = 100
                model = build_model(config).to(device, self.dtype)
                model.trunk.to(memory_format=torch.channels_last)
                self.step = TrainStep(config, model, build_optimizer(config.optim, model), [0.1] * 1000)
                if graphs:
                    from golang.training.graphs import TrunkGraphs  # earlier code, traced beside today's, has none

                    share = config.optim.batch_size // (world.size * config.optim.accumulate)
                    model.feature_maps = TrunkGraphs(model.trunk, config, share)
                self.step.forward = data_parallel(model)
                self.transfer = Transfer(device)
                self.meter, self.sentinel = Meter(config, device), Sentinel.on(device)

        views, images = config.augment, config.optim.batch_size // world.size
        sizes = ((2, views.large_size), (views.small_count, views.small_size))
        large, small = (torch.zeros(n, images, 3, s, s, dtype=torch.uint8).pin_memory() for n, s in sizes)
        device_jitter = config.data.pipeline == "device"
        left = torch.rand(2 + views.small_count, images, COLUMNS) if device_jitter else torch.empty(0, images, COLUMNS)
        self.batch = Crops(large, small, torch.zeros(0, dtype=torch.int64), left.pin_memory())
        self.trainer = Bare()

    def __call__(self) -> None:
        self.trainer._train_on(self.batch)
        for queue in self.trainer.step.queues.values():
            if queue is not None:
                queue.filled = queue.rows.shape[1]

    def update(self) -> None:
        """LARC's part of the step, again, as a gradient scaler calls it."""
        optimizer = self.trainer.step.optimizer
        optimizer.found_inf = self.trainer.sentinel.skipped.float()
        optimizer.step()

    def upload(self) -> None:
        self.trainer.transfer(self.batch)


class _Session:
    done = 0


def _measured(case: Case, step: _Step) -> dict[str, Any]:
    import torch

    from benchmarks.roofline import Roofline
    from tests.cuda.counts import counter, launches, waits

    counts = counter()
    for _ in range(WARM if case.ranks > 1 else 3):
        step()
    torch.cuda.reset_peak_memory_stats()
    found: dict[str, Any] = {"counts": counts.during(step)}
    # What a graph's kernels write to is reserved, and allocated only while they are recorded.
    peak = torch.cuda.memory_reserved() if "cuda_graphs" in case.more else torch.cuda.max_memory_allocated()
    found |= {"peak": peak, "launches": launches(found["counts"]), "waits": waits(found["counts"])}
    with counts.places() as places:
        step()
    found["places"] = dict(places)
    found["update"] = counts.during(step.update)
    found["transfer"] = counts.during(step.upload)
    if case.timed:
        seconds = []
        for _ in range(9):
            begun = time.process_time()
            step()
            seconds.append(time.process_time() - begun)
        found["host_ms"] = 1e3 * statistics.median(seconds)
        with Roofline() as roofline:
            step()
        found["roofline_ms"] = {gpu: 1e3 * spent for gpu, spent in roofline.seconds.items()}
    return found | _kinds(step)


def _kinds(step: _Step) -> dict[str, Any]:
    """Precision of each of Branches; whether the maps behind each convolution lie channels last (a graph's are not
    seen)."""
    import torch
    from torch import nn

    seen: dict[str, Any] = {"dtypes": {}, "channels_last": []}
    model = step.trainer.step.model

    def branches(_: object, __: object, out: Any) -> None:
        seen["dtypes"] = {name: str(value.dtype) for name, value in vars(out).items() if value is not None}

    def convolution(_: object, __: object, out: Any) -> None:
        seen["channels_last"].append(out.is_contiguous(memory_format=torch.channels_last))

    hooks = [model.register_forward_hook(branches)]
    hooks += [each.register_forward_hook(convolution) for each in model.trunk.modules() if isinstance(each, nn.Conv2d)]
    step()
    for hook in hooks:
        hook.remove()
    return seen


def main() -> None:
    for values in json.load(sys.stdin):
        try:
            found = _trace(Case(**values))
        except Exception as error:
            traceback.print_exc()
            found = {"failed": f"{type(error).__name__}: {str(error)[:400]}"}
        print(json.dumps(found), flush=True)
    os._exit(0)  # what stands behind the null driver's handles is nobody's to end


if __name__ == "__main__":
    main()
