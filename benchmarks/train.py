"""Training end to end, from JPEG files to updated weights: `python -m benchmarks.train`.

The textbook (its pipeline in loader processes, floats to the device, its step) beside the trainer's loader and step, in
turns of a few steps each with loaders that keep running; steps themselves are compared in fp64 as in benchmarks.step.
The limit is the trunk alone on resident data, in the same precision and layout.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from benchmarks import textbook, timing
from benchmarks.networks import LR, Ways, compare, settings
from benchmarks.photos import photos
from golang.data.images import ImageSet
from golang.data.loader import close, train_loader
from golang.data.multicrop import MultiCrop, on_device
from golang.data.sampler import StepSampler
from golang.engine.seat import keep_freed_memory
from golang.engine.step import AUTOCAST

ENDLESS = 10**6  # steps


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--trunk", help="(resnet18, or resnet50 on a GPU)")
    parser.add_argument("--images", type=int, help="images a step (8, or 64 on a GPU)")
    parser.add_argument("--precision", choices=tuple(AUTOCAST), help="(fp32, or bf16 on a GPU)")
    parser.add_argument("--pipeline", choices=("pil", "opencv", "device"), help="(opencv, or device on a GPU)")
    parser.add_argument("--workers", type=int, help="loader processes of each way (1, or one less than cores on a GPU)")
    parser.add_argument("--steps", type=int, help="steps a turn (1, or 10 on a GPU)")
    parser.add_argument("--rounds", type=int, help="turns of every way (5)", default=5)
    options = parser.parse_args()
    device = timing.device()
    gpu = device.type == "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = options.workers if options.workers is not None else (cores - 1 if gpu else 1)
    images = options.images or (64 if gpu else 8)
    precision = options.precision or ("bf16" if gpu else "fp32")
    pipeline = options.pipeline or ("device" if gpu else "opencv")
    if gpu:
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()  # as the trainer does
    off = compare(device)
    config = settings(options.trunk or ("resnet50" if gpu else "resnet18"), images, precision)
    ways = Ways(config, device)
    files = photos(max(64, images) if gpu else 4 * images)
    with TemporaryDirectory() as folder:
        for number, data in enumerate(files):
            (Path(folder) / f"{number}.jpg").write_bytes(data)
        dataset = MultiCrop(
            ImageSet.of(Path(folder), [f"{n}.jpg" for n in range(len(files))]), config.augment, 0, pipeline
        )
        ours = iter(train_loader(dataset, StepSampler(len(files), images, ENDLESS, 0), workers, gpu))
        views = textbook.Views(files, config.augment)
        theirs = iter(
            DataLoader(
                views,
                images,
                sampler=RandomSampler(views, replacement=True, num_samples=ENDLESS * images),
                num_workers=workers,
                pin_memory=gpu,
            )
        )
        named: dict[str, timing.Way] = {
            "textbook": lambda: _textbook_step(ways, theirs, device),
            "ours": lambda: ways.step(0, *on_device(next(ours), device, torch.float32), ways.permutations),
            "trunk alone": ways.trunk,
        }
        seconds = timing.interleaved(named, device, options.rounds, options.steps or (10 if gpu else 1))
        close(ours)
    rows = [(name, 1e3 * taken, images / taken, seconds["textbook"] / taken, seconds["trunk alone"] / taken)
            for name, taken in seconds.items()]  # fmt: skip
    result: dict[str, object] = {
        "bench": "train",
        "ratio": seconds["textbook"] / seconds["ours"],
        "limit_share": seconds["trunk alone"] / seconds["ours"],
        "images_per_second": images / seconds["ours"],
        "workers": workers,
        "pipeline": pipeline,
        "precision": precision,
        "off": off,
    }
    if gpu:
        result["peak_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    title = f"{config.model.trunk}, {images} images a step, {precision}, {workers} loader processes a way, {pipeline}"
    columns = ("way", "ms a step", "images/s", "× textbook", "share of the limit")
    timing.show(title, columns, rows, result, device)


def _textbook_step(ways: Ways, batches: Iterator[list[Tensor]], device: torch.device) -> float:
    crops = [view.to(device) for view in next(batches)]
    return ways.textbook(0, LR, crops, ways.permutations)


if __name__ == "__main__":
    main()
