"""Training end to end, from JPEG files to updated weights: `python -m benchmarks.train`.

The textbook (its pipeline in loader processes, floats to the device, its step) beside the trainer's loader and step. A
turn starts its own loader processes and is timed once these are in their stride, so that none lives on what was
prepared before. Steps themselves are compared in fp64 as in benchmarks.step. The limit is the trunk alone on resident
data, in the same precision and layout.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, RandomSampler

from benchmarks import textbook, timing
from benchmarks.networks import LR, PRECISIONS, Ways, compare, settings
from benchmarks.photos import photos
from golang.data.crops.multicrop import MultiCrop, on_device
from golang.data.crops.transfer import Transfer
from golang.data.images import ImageSet
from golang.data.loader import close, train_loader
from golang.data.sampler import StepSampler
from golang.engine.determinism import keep_freed_memory

T = TypeVar("T")
ENDLESS = 10**6  # steps


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--trunk", help="(resnet18, or resnet50 on a GPU)")
    parser.add_argument("--images", type=int, help="images a step (8, or 64 on a GPU)")
    parser.add_argument("--precision", choices=PRECISIONS, help="(fp32, or bf16 on a GPU)")
    parser.add_argument("--pipeline", choices=("pil", "opencv", "device"),
                        help="(opencv where there is one, else pil; device on a GPU)")  # fmt: skip
    parser.add_argument("--cores", type=int, help="as if the machine had no more (all)")
    parser.add_argument("--workers", type=int, help="loader processes (1, or one less than cores on a GPU)")
    parser.add_argument("--steps", type=int, help="steps a turn (two a loader process, at least 2, or 10 on a GPU)")
    parser.add_argument("--rounds", type=int, help="turns of every way (3)", default=3)
    return parser.parse_args()


class Feeds:
    """Both loaders over the same files; each call starts one, with processes of its own."""

    def __init__(self, folder: Path, ways: Ways, pipeline: str, workers: int, device: torch.device) -> None:
        config, self.images = ways.step.config, ways.step.config.optim.batch_size
        files = photos(max(64, self.images) if device.type == "cuda" else 4 * self.images)
        for number, data in enumerate(files):
            (folder / f"{number}.jpg").write_bytes(data)
        paths = ImageSet.of(folder, [f"{number}.jpg" for number in range(len(files))])
        self.dataset = MultiCrop(paths, config.augment, 0, pipeline)  # type: ignore[arg-type]
        self.views = textbook.Views(files, config.augment)
        self.ways, self.workers, self.device, self.transfer = ways, workers, device, Transfer(device)

    def theirs(self) -> tuple[Iterator[object], timing.Way]:
        sampler = RandomSampler(self.views, replacement=True, num_samples=ENDLESS * self.images)
        gpu = self.device.type == "cuda"
        loader = DataLoader(self.views, self.images, sampler=sampler, num_workers=self.workers, pin_memory=gpu)
        batches, ways = iter(loader), self.ways
        return batches, lambda: ways.textbook(0, LR, [v.to(self.device) for v in next(batches)], ways.permutations)

    def ours(self) -> tuple[Iterator[object], timing.Way]:
        sampler = StepSampler(len(self.dataset), self.images, ENDLESS, 0)
        batches = iter(train_loader(self.dataset, sampler, self.workers, self.device.type == "cuda"))
        dtype, ways = torch.float32, self.ways
        return batches, lambda: ways.step(
            0, *on_device(self.transfer(next(batches)), self.device, dtype), ways.permutations
        )


def turn(feed: Callable[[], tuple[Iterator[object], timing.Way]], measure: Callable[[timing.Way], T], lead: int) -> T:
    """What `measure` says of a feed's step, after `lead` steps."""
    batches, step = feed()
    try:
        for _ in range(lead):
            step()
        return measure(step)
    finally:
        close(batches)


def main() -> None:
    options = parse()
    device = timing.device()
    gpu = device.type == "cuda"
    cores = timing.cores(options.cores)
    workers = options.workers if options.workers is not None else (cores - 1 if gpu else 1)
    steps = options.steps or max(2 * workers, 10 if gpu else 2)
    precision = options.precision or ("bf16" if gpu else "fp32")
    pipeline = options.pipeline or ("device" if gpu else "opencv" if find_spec("cv2") else "pil")
    if gpu:  # as the trainer does
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()
    off = compare(device)
    images = options.images or (64 if gpu else 8)
    ways = Ways(settings(options.trunk or ("resnet50" if gpu else "resnet18"), images, precision), device)
    ways.fill_queues()
    with TemporaryDirectory() as folder:
        feeds = Feeds(Path(folder), ways, pipeline, workers, device)
        clock, lead = partial(timing.seconds, device=device, calls=steps), 2 * workers
        seconds = timing.in_turns(
            {
                "textbook": lambda: turn(feeds.theirs, clock, lead),
                "ours": lambda: turn(feeds.ours, clock, lead),
                "trunk alone": lambda: turn(lambda: (iter(()), ways.trunk), clock, 1),
            },
            options.rounds,
        )
        count = partial(timing.work, device=device, calls=10 if gpu else 1)
        work = {"textbook": turn(feeds.theirs, count, lead), "ours": turn(feeds.ours, count, lead)}
    rows = [(name, 1e3 * taken, images / taken, seconds["textbook"] / taken, seconds["trunk alone"] / taken)
            for name, taken in seconds.items()]  # fmt: skip
    result: dict[str, object] = {
        "bench": "train",
        "ratio": seconds["textbook"] / seconds["ours"],
        "limit_share": seconds["trunk alone"] / seconds["ours"],
        "images_per_second": images / seconds["ours"],
        "cores": cores,
        "workers": workers,
        "pipeline": pipeline,
        "precision": precision,
        "launches": work["ours"].launches,
        "syncs": work["ours"].syncs,
        "syncs_textbook": work["textbook"].syncs,
        "off": off,
    }
    if gpu:
        result |= {
            "idle_share": work["ours"].idle,
            "idle_share_textbook": work["textbook"].idle,
            "peak_memory_gib": work["ours"].memory,
        }
    trunk = ways.step.config.model.trunk
    title = f"{trunk}, {images} images a step, {precision}, {cores} cores, {workers} loader processes, {pipeline}"
    columns = ("way", "ms a step", "images/s", "× textbook", "share of the limit")
    timing.show(title, columns, rows, result, device)


if __name__ == "__main__":
    main()
